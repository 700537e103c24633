"""Promote: whether a registered version may replace the champion, on the same test patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.paired import Comparison, Gate, compare, is_judged, objections
from readmit_spark.evaluation.subgroups import FACTORS
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.locate import Located, locate
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.registry import CHALLENGER, CHAMPION, make_champion
from readmit_spark.scoring.scorer_settings import scores_of_test_split
from readmit_spark.storage.session import tasks_done

STAGES = 2


@dataclass(frozen=True)
class Decision:
    """champion, challenger: name/version. groups: the subgroups that have a say, such as "sex
    female". objections: why the champion stays; none, and it went."""

    champion: str
    challenger: str
    overall: Comparison
    groups: Mapping[str, Comparison]
    objections: list[str]


def promote(
    spark: SparkSession, config: Config, prepared: dict[str, Any], progress: Progress
) -> Decision:
    """Scores the test admissions of `train.window` with both, compares them, and moves the
    champion's alias where `promote` in the configuration allows it. The comparison goes to MLflow,
    the reason for a move to the version as a tag."""
    name, wanted = config.model.name, config.promote.version
    champion = locate(config, f"models:/{name}@{CHAMPION}")
    challenger = locate(config, f"models:/{name}{f'/{wanted}' if wanted else f'@{CHALLENGER}'}")
    if champion.name == challenger.name:
        raise UserError(f"promote.version: {champion.name} is the champion already")
    made = prepared["config"]["windows"]
    if config.train.window not in made:
        raise UserError(f"train.window is {config.train.window}: prepare made {', '.join(made)}")
    with progress.stage("scores of both", tasks_done(spark)):
        scored = [
            _scored(spark, config, prepared, model, progress) for model in (champion, challenger)
        ]
        old, new = scored
        both = old.merge(new, on="hadm_id", suffixes=("", "_challenger"), validate="1:1")
        if len(both) < max(map(len, scored)):
            raise RuntimeError("the two models did not score the same admissions")
        if both.empty:
            raise UserError(
                f"no admission of the test split can be measured in {config.train.window}"
            )
    with progress.stage("comparison"):
        gate = Gate(config.promote.min_gain, config.promote.max_loss, config.promote.min_group)
        overall = _compare(both, config)
        compared = {
            f"{factor} {value}": _compare(rows, config)
            for factor in FACTORS
            for value, rows in both.groupby(factor)
            if len(rows) < len(both)  # as where nobody's sex is known
        }
        groups = {name: found for name, found in compared.items() if is_judged(found, gate)}
        against = objections(overall, groups, gate)
        decision = Decision(champion.name, challenger.name, overall, groups, against)
        _record(config, decision)
    return decision


def table(decision: Decision) -> str:
    """The measures of both, side by side."""
    rows = {**decision.overall.gains}
    for group, found in decision.groups.items():
        rows[f"auroc, {group}"] = found.gains["auroc"]
    width = max(map(len, rows))
    lines = [f"{'':{width}}{decision.champion:>16}{decision.challenger:>16}  gain (95 %)"]
    for measure, gain in rows.items():
        spread = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
        lines.append(
            f"{measure:<{width}}{gain.champion:>16.3f}{gain.challenger:>16.3f}"
            f"  {gain.gain:+.3f}{spread}"
        )
    lines.append(
        f"{decision.overall.n:,} admissions of the test split, "
        f"{decision.overall.positives:,} readmitted"
    )
    return "\n".join(lines)


def _scored(
    spark: SparkSession,
    config: Config,
    prepared: dict[str, Any],
    model: Located,
    progress: Progress,
) -> pd.DataFrame:
    """hadm_id, subject_id, score, label and the subgroups, of those that metrics are of."""
    check_before_test(config, model, prepared, progress)
    window = config.train.window
    groups = spark.read.parquet(f"{prepared['path']}/subgroups")
    patients = scores_of_test_split(
        spark, config, prepared, model, [window], lambda frame: frame.persist(), progress
    )
    return (
        patients.where("actionable")
        .select("hadm_id", "subject_id", "score", "label")
        .join(groups.select("hadm_id", *FACTORS), on="hadm_id", how="inner")
        .orderBy("hadm_id")
        .toPandas()
    )


def _compare(rows: pd.DataFrame, config: Config) -> Comparison:
    return compare(
        rows.score.to_numpy(float),
        rows.score_challenger.to_numpy(float),
        rows.label.to_numpy(int),
        rows.subject_id.to_numpy(),
        replicates=config.score.bootstrap,
        seed=config.split.seed,
    )


def _record(config: Config, decision: Decision) -> None:
    name, _, version = decision.challenger.partition("/")
    promoted = not decision.objections
    with job_run(config, "promote") as mlflow:
        mlflow.log_params({"champion": decision.champion, "challenger": decision.challenger})
        mlflow.log_dict(asdict(decision), "comparison.json")
        for measure, gain in decision.overall.gains.items():
            mlflow.log_metric(f"gain_{measure}", gain.gain)
        mlflow.set_tag("promoted", str(promoted).lower())
    if promoted:
        gain = decision.overall.gains["auroc"]
        make_champion(
            config.tracking_uri, name, version,
            f"better than {decision.champion}: AUROC {gain.gain:+.3f} "
            f"({gain.low:+.3f} to {gain.high:+.3f})",
        )  # fmt: skip
