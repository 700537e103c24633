"""Compute metrics from patient scores, and the contents of the report from metrics."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd
import pyspark

from readmit_spark.config import Config
from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.balance import balance
from readmit_spark.evaluation.calibration import CALIBRATION
from readmit_spark.evaluation.decay import by_month
from readmit_spark.evaluation.decision_curve import decision_curve
from readmit_spark.evaluation.decision_page import decision_picture, decision_rows
from readmit_spark.evaluation.frozen_alerts import frozen_alerts
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.report_page import (
    FlowStep,
    Pictures,
    Report,
    TokenLoss,
    WindowResult,
    render,
)
from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.evaluation.vote_parts import vote_parts
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.manifests import Prepared

_LARGEST_UNKNOWN_SHARE = 0.01  # of the admissions
# Counts of notes that are no problem of the input.
_NO_PROBLEMS = (
    "notes", "discharge_summaries", "available_from_charttime", "available_from_chartdate",
    "before_admission",
)  # fmt: skip
_LEFT_OUT = {
    "discharged_acute": "transferred to another hospital",
    "discharged_against_advice": "left against advice",
    "discharged_hospice": "left for a hospice",
}


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one window. measured: its admissions (subject_id, hadm_id, score, label)."""

    window: str
    measured: pd.DataFrame
    metrics: dict[str, Any]


def evaluate_windows(
    measured: pd.DataFrame,
    chunk_facts: pd.DataFrame,
    risks: Mapping[str, Mapping[int, float]] | None,
    windows: Sequence[str],
    config: Config,
    points: Mapping[str, Sequence[Threshold]],
    died: pd.DataFrame | None = None,
) -> list[Evaluation]:
    """Compute the metrics of each window.

    These are the metrics at natural and balanced prevalence, how the risks agree with the outcomes,
    what alerts do at frozen thresholds, the chunks' accuracy and loss, what the vote is worth, and
    the attainable AUROC if the true risks are known.

    measured: window, subject_id, hadm_id, score, risk, label; risk is null where the model has no
    risk curve; with n_chunks, max_probability and mean_probability the vote is compared with its
    parts; with admittime, each window is measured by month too. chunk_facts: window, accuracy,
    loss. risks: window -> hadm_id -> true risk; None if they are unknown. points: window -> the
    model's thresholds from validation. died: the same columns of the admissions without a label
    whose patient died within the horizon; with them `readmitted_or_dead`, a second outcome, is
    measured.
    """
    by_window = chunk_facts.set_index("window").to_dict("index")
    evaluations = []
    for window in windows:
        rows = measured[measured.window == window].sort_values("hadm_id")
        metrics: dict[str, Any] = {
            "split": "test" if config.score.split == "all" else config.score.split,
            **at_both_prevalences(rows, config),
            "risk": agreement_of_risks(rows, config),
            "decision_curve": decision_curve_of(rows.assign(score=listed(rows)), config),
            "alerts": frozen_alerts(
                rows.score.to_numpy(float), rows.label.to_numpy(int), rows.subject_id.to_numpy(),
                points.get(window, ()), replicates=config.score.bootstrap, seed=config.split.seed,
            ),
            "chunks": by_window.get(window),
            "vote": vote_parts(rows),
        }  # fmt: skip
        if risks is not None:
            metrics["attainable_auroc"] = attainable_auroc(rows, risks[window], config)
        if "admittime" in rows:
            metrics["by_month"] = by_month(rows)
        dead = died[died.window == window] if died is not None else rows[:0]
        if len(dead):
            both = pd.concat([rows, dead.assign(label=1)]).sort_values("hadm_id")
            metrics["readmitted_or_dead"] = _evaluate(both, both.score, config)
        evaluations.append(Evaluation(window, rows, metrics))
    return evaluations


def at_both_prevalences(rows: pd.DataFrame, config: Config) -> dict[str, Any]:
    """Evaluate all admissions (`natural`), and with both classes of the same weight (`balanced`).

    In the paper profile, `balanced` is one sample with as many negatives as positives, as
    published. rows: subject_id, hadm_id, score, label. Values of each: see
    `evaluation.metrics.evaluate`; `balanced` also has `ward_precision`.
    """
    rows = rows.sort_values("hadm_id")
    natural = _evaluate(rows, rows.score, config)
    if config.profile == "paper" and len(rows):
        drawn = rows[balance(rows.hadm_id, rows.label, config.split.seed)]
        balanced = _evaluate(drawn, drawn.score, config)
    else:
        balanced = _evaluate(rows, rows.score, config, balanced=True)
    threshold = balanced["rp80"].get("threshold")
    return {
        "natural": natural,
        "balanced": balanced | {"ward_precision": ward_precision(rows, threshold)},
    }


def listed(rows: pd.DataFrame) -> pd.Series:
    """Return the risks, or the scores where the model has no risks."""
    return rows.risk if has_risks(rows) else rows.score


def has_risks(rows: pd.DataFrame) -> bool:
    """Return whether the admissions have risks: all of a window have one, or none."""
    return "risk" in rows and len(rows) > 0 and bool(rows.risk.notna().all())


def agreement_of_risks(rows: pd.DataFrame, config: Config) -> dict[str, Any] | None:
    """Return the Brier score and `calibration.CALIBRATION` of the risks; None without risks."""
    if not has_risks(rows):
        return None
    measures = _evaluate(rows, rows.risk, config)
    return {name: measures[name] for name in ("brier", *CALIBRATION)}


def decision_curve_of(rows: pd.DataFrame, config: Config) -> dict[str, Any]:
    """Return the decision curve of the scores. rows: subject_id, score, label."""
    return decision_curve(
        rows.score.to_numpy(dtype=float),
        rows.label.to_numpy(dtype=int),
        rows.subject_id.to_numpy(),
        capacity_share=config.score.capacity_share,
    )


def ward_precision(rows: pd.DataFrame, threshold: float | None) -> dict[str, int] | None:
    """Count what the threshold of the balanced RP80 does among all admissions.

    Returns the admissions with a score at or above it (`alerted`), and those of them that were
    readmitted. None if no threshold has the precision.
    """
    if threshold is None:
        return None
    alerted = rows[rows.score >= threshold]
    return {"alerted": len(alerted), "readmitted": int(alerted.label.sum())}


def attainable_auroc(
    rows: pd.DataFrame, risks: Mapping[int, float], config: Config
) -> dict[str, Any]:
    """Return the AUROC of the true risks on these admissions. risks: hadm_id -> true risk."""
    auroc: dict[str, Any] = _evaluate(rows, rows.hadm_id.map(risks), config)["auroc"]
    return auroc


def _evaluate(
    rows: pd.DataFrame, scores: pd.Series, config: Config, *, balanced: bool = False
) -> dict[str, Any]:
    return evaluate(
        scores.to_numpy(dtype=float),
        rows.label.to_numpy(dtype=int),
        rows.subject_id.to_numpy(),
        replicates=config.score.bootstrap,
        seed=config.split.seed,
        balanced=balanced,
    )


def build_report(
    config: Config,
    model: str,
    prepared: Prepared,
    evaluations: Sequence[Evaluation],
    ledger: pd.DataFrame,
    tokens: Mapping[str, TokenLoss],
    seconds: Mapping[str, float],
) -> Report:
    """Return the contents of the report.

    ledger: window, status, reason, n: the number of its admissions. tokens: by window. seconds: of
    this job, by stage.
    """
    excluded = ledger[ledger.status == "excluded"]
    excluded = excluded[excluded.window == evaluations[0].window]  # the same in each window
    duplicates = prepared.admissions["duplicate_rows"]
    left_out = [("identical_duplicate", duplicates)] if duplicates else []
    return Report(
        title="30-day readmission risk from clinical notes",
        split=evaluations[0].metrics["split"],
        windows=[
            _window(e, ledger[ledger.window == e.window], tokens.get(e.window), config)
            for e in evaluations
        ],
        flow=[
            FlowStep(
                "admissions in the table",
                prepared.admissions["rows"],
                left_out + _reasons(excluded),
            )
        ],
        bad_rows={
            **{
                f"admissions: {k}": v
                for k, v in prepared.admissions.items()
                if v and k not in ("rows", "duplicate_rows")
            },
            **{f"notes: {k}": v for k, v in prepared.notes.items() if v and k not in _NO_PROBLEMS},
        },
        facts=_report_facts(config, model, prepared),
        seconds={
            **{f"prepare: {k}": v for k, v in prepared.seconds.items()},
            **{f"score: {k}": v for k, v in seconds.items()},
        },
        horizon_days=config.label.horizon_days,
        all_cause=is_all_cause(prepared),
    )


def is_all_cause(prepared: Prepared) -> bool:
    """Return whether readmissions cannot be called unplanned: of too many admissions nobody knows
    whether they were planned."""
    unknown = prepared.outcomes.get("plan_unknown", 0)
    return unknown > _LARGEST_UNKNOWN_SHARE * prepared.admissions["rows"]


def _report_facts(config: Config, model: str, prepared: Prepared) -> dict[str, str]:
    return {
        "model": model,
        "profile": config.profile,
        "trained and scored with": prepared.text_rules.title(prepared.max_tokens),
        "precision": config.score.precision,
        "vote": f"c = {config.vote.c}",
        "split.seed": str(config.split.seed),
        "notes read": f"{prepared.notes['notes']:,}",
        "outcome": _outcome(prepared),
        **_outcome_facts(prepared.outcomes),
        "prepared": prepared.finished,
        # A cluster's pyspark is a zip without package metadata.
        "pyspark": pyspark.__version__,
        **{name: version(name) for name in ("torch", "transformers")},
        "Python": platform.python_version(),
    }


def _outcome(prepared: Prepared) -> str:
    """Return what the label means. It is no CMS measure."""
    unknown, rows = prepared.outcomes.get("plan_unknown", 0), prepared.admissions["rows"]
    kind = "all-cause" if is_all_cause(prepared) else "unplanned"
    if not unknown:
        return f"{kind} readmission"
    return (
        f"{kind} readmission: of {unknown:,} of {rows:,} admissions nobody knows whether they were "
        "planned, and they count as readmissions"
    )


def _outcome_facts(outcomes: Mapping[str, int]) -> dict[str, str]:
    """Return lines on stays without a label and on early readmissions, some of them transfers."""
    facts = {}
    if open_stays := outcomes.get("follow_up_incomplete"):
        facts["without a label"] = f"{open_stays:,} stays whose follow-up ends with the data"
    for name, words in _LEFT_OUT.items():
        if n := outcomes.get(name):
            facts[f"left out: {words}"] = f"{n:,} stays (label.leave_out)"
    if deaths := outcomes.get("died_within_horizon"):
        facts["left out"] = f"{deaths:,} stays whose patient died before any readmission"
    if outcomes:
        facts["readmitted"] = (
            f"{outcomes['readmitted_at_once']:,} at once or before the discharge, "
            f"{outcomes['readmitted_within_1_day']:,} more within a day, "
            f"{outcomes['readmitted_within_7_days']:,} more within 7 days"
        )
    return facts


def report_files(evaluations: Sequence[Evaluation], report: Report) -> dict[str, str | bytes]:
    """Return name -> content of metrics.json, report.html and its pictures."""
    metrics = {e.window: e.metrics for e in evaluations}
    files: dict[str, str | bytes] = {
        "metrics.json": json.dumps(metrics, indent=1),
        "report.html": render(report),
    }
    for window in report.windows:
        files[f"roc_{window.name}.png"] = window.pictures.roc
        files[f"pr_{window.name}.png"] = window.pictures.precision_recall
    return files


def _window(
    evaluation: Evaluation, ledger: pd.DataFrame, tokens: TokenLoss | None, config: Config
) -> WindowResult:
    rows, metrics = evaluation.measured, evaluation.metrics
    columns = (rows.score.to_numpy(float), rows.label.to_numpy(int), rows.subject_id.to_numpy())
    cohort = ledger[ledger.status != "excluded"]
    scored = int(cohort.n[cohort.status == "scored"].sum())
    days = parse_window(evaluation.window).days
    reason = "other_split_or_no_outcome" if days is None else "other_split_too_short_or_no_outcome"
    return WindowResult(
        name=evaluation.window,
        natural=metrics["natural"],
        risk=metrics["risk"],
        balanced=metrics["balanced"],
        flow=[
            FlowStep(
                "in the cohort", int(cohort.n.sum()), _reasons(cohort[cohort.status == "unscored"])
            ),
            FlowStep("scored", scored, [(reason, scored - len(rows))]),
            FlowStep(f"measured ({metrics['split']} split)", len(rows)),
        ],
        tokens=tokens or TokenLoss(0, 0, 0, 0),
        pictures=Pictures(
            roc=pictures.roc(*columns, metrics["natural"], title=f"ROC, {evaluation.window}"),
            precision_recall=pictures.precision_recall(
                *columns, metrics["natural"], title=f"Precision and recall, {evaluation.window}"
            ),
            distribution=pictures.distribution(*columns[:2], title=f"Scores, {evaluation.window}"),
            calibration=pictures.calibration(
                listed(rows).to_numpy(float), columns[1], title=f"Calibration, {evaluation.window}"
            ),
            decision=decision_picture(
                {f"the {'risk' if metrics['risk'] else 'score'}": metrics["decision_curve"]},
                title=f"Net benefit, {evaluation.window}",
            ),
        ),
        decision=decision_rows(metrics["decision_curve"]),
        by_month=metrics.get("by_month", []),
        alerts=metrics["alerts"],
        chunk=metrics["chunks"],
        vote=metrics["vote"],
        attainable_auroc=metrics.get("attainable_auroc", {}).get("value"),
        readmitted_or_dead=metrics.get("readmitted_or_dead"),
    )


def _reasons(rows: pd.DataFrame) -> list[tuple[str, int]]:
    counts = rows.groupby("reason").n.sum().sort_values(ascending=False, kind="stable")
    return [(str(reason), int(n)) for reason, n in counts.items()]
