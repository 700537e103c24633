"""Replace the champion if a registered version ranks the same test patients better."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.doubts import Evidence
from readmit_spark.evaluation.gate import Gate, Verdict, change, error_of_try, is_judged, judge
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.paired import Comparison, compare
from readmit_spark.evaluation.subgroups import FACTORS
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.model import Model, resolve_model
from readmit_spark.scoring.registry import CHALLENGER, CHAMPION, SELECTED_ON, make_champion
from readmit_spark.scoring.scorer_settings import scores_of_test_split
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run

STAGES = 2


@dataclass(frozen=True)
class Decision:
    """The result of a comparison.

    champion, challenger: name/version. groups: comparisons of the subgroups that are large enough,
    by name such as "sex female". too_small: the other subgroups. number: the challengers that were
    tried on these test patients, with this one. promoted: whether the challenger replaced the
    champion. doubts: about the challenger, see `evaluation.doubts`.
    """

    champion: str
    challenger: str
    overall: Comparison
    groups: Mapping[str, Comparison]
    too_small: list[str]
    number: int
    verdict: Verdict
    signed_off_by: str | None
    promoted: bool
    doubts: list[str]


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
        decision = _decide(config, champion.name, challenger, both, prepared.split_name)
    return decision


def _decide(
    config: Config, champion: str, challenger: Model, both: pd.DataFrame, split: str
) -> Decision:
    """Compare, judge, and record the try. both: the scores of both models on the same rows."""
    promote = config.promote
    gate = Gate(promote.min_gain, promote.margin, promote.group_margin, promote.min_group)
    test_set = hashlib.sha256(f"{split}:{both.hadm_id.tolist()}".encode()).hexdigest()[:12]
    with job_run(config, "promote") as mlflow:
        number = len(_tried(mlflow, test_set) - {challenger.name}) + 1
        error = error_of_try(number)
        overall = _compare(both, config, error)
        compared = {
            f"{factor} {value}": _compare(rows, config, error)
            for factor in FACTORS
            for value, rows in both.groupby(factor)
            if len(rows)
            < len(both)  # not a group of everybody, for example if nobody's sex is known
        }
        groups = {name: group for name, group in compared.items() if is_judged(group, gate)}
        verdict = judge(overall, groups, gate)
        decision = Decision(
            champion, challenger.name, overall, groups, sorted(compared.keys() - groups.keys()),
            number, verdict, promote.signed_off_by,
            verdict.passes(signed_off=promote.signed_off_by is not None), _doubts(challenger, both),
        )  # fmt: skip
        _record(mlflow, config, decision, test_set)
    return decision


def _doubts(challenger: Model, both: pd.DataFrame) -> list[str]:
    """Return the doubts about the challenger, with what these test patients show."""
    measures = evaluate(both.score_challenger, both.label, both.subject_id, replicates=0)
    return challenger.doubts(Evidence.of(measures))


def _tried(mlflow: Any, test_set: str) -> set[str]:
    """Return the challengers that were compared on these test patients before."""
    experiment = mlflow.active_run().info.experiment_id
    runs = mlflow.MlflowClient().search_runs([experiment], f"tags.test_set = '{test_set}'")
    return {run.data.params["challenger"] for run in runs}


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
    lines = [f"{'':{width}}{decision.champion:>16}{decision.challenger:>16}  gain"]
    for measure, gain in rows.items():
        spread = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
        lines.append(
            f"{measure:<{width}}{gain.champion:>16.3f}{gain.challenger:>16.3f}"
            f"  {gain.gain:+.3f}{spread}"
        )
    lines += [
        f"{decision.overall.n:,} admissions of the test split, "
        f"{decision.overall.positives:,} readmitted",
        f"challenger number {decision.number} on these patients; the intervals miss the truth in "
        f"at most {error_of_try(decision.number):.2%}",
    ]
    if decision.too_small:
        lines.append(f"too small to compare: {', '.join(decision.too_small)}")
    return "\n".join(lines)


def reasons(decision: Decision) -> str:
    """Say what was decided, and why, one line each."""
    lines = [f"- worse: {line}" for line in decision.verdict.worse]
    lines += [f"- cannot tell: {line}" for line in decision.verdict.cannot_tell]
    warnings = [f"warning, {decision.challenger}: {doubt}" for doubt in decision.doubts]
    if not decision.promoted:
        head = f"{decision.champion} stays the champion:"
        if not decision.verdict.worse:
            lines.append("promote.signed_off_by=NAME accepts what these patients cannot tell")
    else:
        head = f"{decision.challenger} is the champion now, and {decision.champion} is @previous"
        if lines:
            head += f"; {decision.signed_off_by} accepts:"
    return "\n".join([head, *lines, *warnings])


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


def _compare(rows: pd.DataFrame, config: Config, error: float) -> Comparison:
    return compare(
        rows.score.to_numpy(float),
        rows.score_challenger.to_numpy(float),
        rows.label.to_numpy(int),
        rows.subject_id.to_numpy(),
        replicates=config.score.bootstrap,
        seed=config.split.seed,
        error=error,
    )


def _record(mlflow: Any, config: Config, decision: Decision, test_set: str) -> None:
    name, _, version = decision.challenger.partition("/")
    mlflow.log_params({"champion": decision.champion, "challenger": decision.challenger})
    mlflow.log_dict(asdict(decision), "comparison.json")
    for measure, gain in decision.overall.gains.items():
        mlflow.log_metric(f"gain_{measure}", gain.gain)
    mlflow.set_tags({"promoted": str(decision.promoted).lower(), "test_set": test_set})
    if decision.promoted:
        signed = f"; signed off by {decision.signed_off_by}" if decision.verdict.cannot_tell else ""
        make_champion(
            config.tracking_uri, name, version,
            f"better than {decision.champion}: AUROC {change(decision.overall.gains['auroc'])}"
            f"{signed}",
        )  # fmt: skip
        mlflow.MlflowClient().set_model_version_tag(
            name, version, SELECTED_ON, f"the best of {decision.number + 1} on these test patients"
        )
