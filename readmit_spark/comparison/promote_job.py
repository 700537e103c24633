"""Replace the champion if a registered version ranks the same test patients better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.paired import Comparison, Gate, compare, is_judged, objections
from readmit_spark.evaluation.subgroups import FACTORS
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.model import Model, resolve_model
from readmit_spark.scoring.registry import CHALLENGER, CHAMPION, make_champion
from readmit_spark.scoring.scorer_settings import scores_of_test_split
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run

STAGES = 2


@dataclass(frozen=True)
class Decision:
    """The result of a comparison.

    champion, challenger: name/version. groups: comparisons of the subgroups that are large enough,
    by name such as "sex female". objections: why the champion stays; empty if the challenger
    replaced it.
    """

    champion: str
    challenger: str
    overall: Comparison
    groups: Mapping[str, Comparison]
    objections: list[str]


def promote(run: Run, prepared: Prepared) -> Decision:
    """Score the test admissions of `train.window` with champion and challenger, compare them, and
    move the champion alias if the section `promote` of the configuration allows it.

    The comparison is logged to MLflow; the reason for a move becomes a tag of the version.
    """
    config = run.config
    prepared.check_window(config.train.window, "train.window")
    champion, challenger = _models(config)
    with run.stage("scores of both"):
        old, new = (_measured_scores(run, prepared, model) for model in (champion, challenger))
        both = old.merge(new, on="hadm_id", suffixes=("", "_challenger"), validate="1:1")
        if len(both) < max(len(old), len(new)):
            raise RuntimeError("the two models did not score the same admissions")
        if both.empty:
            raise UserError(
                f"no admission of the test split can be measured in {config.train.window}"
            )
    with run.stage("comparison"):
        gate = Gate(config.promote.min_gain, config.promote.max_loss, config.promote.min_group)
        overall = _compare(both, config)
        compared = {
            f"{factor} {value}": _compare(rows, config)
            for factor in FACTORS
            for value, rows in both.groupby(factor)
            if len(rows)
            < len(both)  # not a group of everybody, for example if nobody's sex is known
        }
        groups = {name: group for name, group in compared.items() if is_judged(group, gate)}
        decision = Decision(
            champion.name, challenger.name, overall, groups, objections(overall, groups, gate)
        )
        _record(config, decision)
    return decision


def _models(config: Config) -> tuple[Model, Model]:
    """Return champion and challenger."""
    name, version = config.model.name, config.promote.version
    champion = resolve_model(config, f"models:/{name}@{CHAMPION}")
    suffix = f"/{version}" if version else f"@{CHALLENGER}"
    challenger = resolve_model(config, f"models:/{name}{suffix}")
    if champion.name == challenger.name:
        raise UserError(f"promote.version: {champion.name} is the champion already")
    return champion, challenger


def table(decision: Decision) -> str:
    """Format the measures of both models side by side."""
    rows = {**decision.overall.gains}
    for group, comparison in decision.groups.items():
        rows[f"auroc, {group}"] = comparison.gains["auroc"]
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


def _measured_scores(run: Run, prepared: Prepared, model: Model) -> pd.DataFrame:
    """Return hadm_id, subject_id, score, label and subgroups of the measured admissions."""
    check_before_test(model, prepared, run.progress)
    patients = scores_of_test_split(run, prepared, model, [run.config.train.window])
    groups = prepared.table("subgroups").select("hadm_id", *FACTORS)
    return (
        patients.where("actionable")
        .select("hadm_id", "subject_id", "score", "label")
        .join(groups, on="hadm_id", how="inner")
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
