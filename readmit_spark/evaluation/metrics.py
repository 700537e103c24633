"""Measure how well scores rank and how close they are to the outcomes, with 95 % intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.calibration import calibration_measures
from readmit_spark.evaluation.curves import (
    Curves,
    Ranking,
    checked,
    weighted_curves,
    why_no_curve,
)
from readmit_spark.evaluation.delong import auroc_interval
from readmit_spark.evaluation.intervals import (
    Floats,
    bootstrap_weights,
    clustered_sd,
    logit_interval,
    rarer_patients,
    t_quantile,
    too_few,
    wilson,
)

# auroc: area under the ROC curve; a tie counts one half.
# auprc: area under the precision-recall curve by the trapezoid rule, as in the ClinicalBERT paper
#   (scikit-learn's `auc(recall, precision)`). It is slightly optimistic.
# average_precision: scikit-learn's `average_precision_score`, without that optimism.
# rp80: the largest recall among the thresholds with precision >= 0.8; 0 if there is none. An
#   admission is flagged if its score is >= the threshold.
# prevalence: the share of positives.
# brier: the mean squared difference between score and label.
MEASURES = ("auroc", "auprc", "average_precision", "rp80", "prevalence", "brier")
_RP80_PRECISION = 0.8
# Weighted counts are not whole numbers: a precision of exactly 0.8 may come out a little lower.
_ROUNDING = 1e-12
_NO_RP80_INTERVAL = "the best of many thresholds on these patients: no interval of it holds"


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    balanced: bool = False,
) -> dict[str, Any]:
    """Measure scores against labels; return a dict that can be written as JSON.

    scores: [n] probabilities. labels: [n] of 0 and 1. patients: [n] ids, equal for all admissions
    of one patient. The order of the rows does not matter. balanced: weigh the negatives so that
    both classes have the same weight. This is the expectation over all balanced samples.

    The keys are n, positives, patients, replicates, seed, the names in `MEASURES` and, unless
    `balanced`, those of `calibration_measures`. A measure is {"value", "low", "high"}: the
    estimate and its 95 % interval. low and high are None, with the reason as "no_interval", where
    no interval holds. An interval from bootstrapped patients has "replicates": the number of
    replicates in which the measure is defined. rp80 also has "threshold" (None: no threshold is
    precise enough). An undefined measure is {"value": None, "reason": text}.

    Raises ValueError for arrays of different length, a score that is not finite, or a label other
    than 0 and 1.

    >>> evaluate([0.9, 0.1], [1, 0], [7, 8], replicates=0)["auroc"]["value"]
    1.0
    """
    s, y, codes, n_patients = checked(scores, labels, patients)
    result: dict[str, Any] = {
        "n": len(s),
        "positives": int(y.sum()),
        "patients": n_patients,
        "replicates": replicates,
        "seed": seed,
    }
    undefined = {"value": None, "reason": why_no_curve(y)}
    calibrated = {} if balanced else calibration_measures(s, y, codes)
    if len(s) == 0:
        return result | {m: dict(undefined) for m in MEASURES} | calibrated
    point, draws = bootstrap(
        scores, labels, patients, replicates=replicates, seed=seed, balanced=balanced
    )
    for m in MEASURES:
        if np.isnan(point[m]):
            result[m] = dict(undefined)
        else:
            result[m] = {"value": point[m]} | _interval(m, point[m], draws, s, y, codes, balanced)
    if result["rp80"]["value"] is not None:
        result["rp80"]["threshold"] = _rp80_threshold(s, y, balanced)
    return result | calibrated


def bootstrap(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int,
    seed: int,
    balanced: bool = False,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the point estimates and the replicates of each of ``MEASURES``.

    The second dict maps a measure to its [replicates] values over bootstrapped patients. A value is
    not-a-number where the measure is undefined.

    The drawn patients depend only on patients and seed, not on the scores. So the replicates of two
    models on the same admissions are paired and can be subtracted. Errors: as ``evaluate``.
    """
    s, y, codes, n_patients = checked(scores, labels, patients)
    ranking = Ranking.of(s, y)
    point = _measures(ranking, _weights(y, np.ones(len(s)), balanced))
    draws = [
        _measures(ranking, _weights(y, weights, balanced))
        for weights in bootstrap_weights(codes, n_patients, replicates, seed)
    ]
    return point, {m: np.array([draw[m] for draw in draws]) for m in point}


def _weights(labels: Floats, weights: Floats, balanced: bool) -> Floats:
    """Return the weights; balanced: those of the negatives have the sum of the positives'."""
    if not balanced:
        return weights
    positive = labels == 1
    total, others = weights[positive].sum(), weights[~positive].sum()
    return np.where(positive, weights, weights * (total / others if others else 1.0))


def _interval(
    measure: str,
    value: float,
    draws: dict[str, Floats],
    scores: Floats,
    labels: Floats,
    patients: NDArray[np.intp],
    balanced: bool,
) -> dict[str, Any]:
    """Return low and high of a measure, and what they rest on."""
    none: dict[str, Any] = {"low": None, "high": None}
    if measure == "rp80":
        return none | {"no_interval": _NO_RP80_INTERVAL}
    if measure == "prevalence":
        return none | _prevalence_interval(value, labels, patients, balanced)
    rarer = rarer_patients(labels, patients)
    if reason := too_few(rarer):
        return none | {"no_interval": reason}
    if measure == "auroc":
        low, high = auroc_interval(scores, labels, patients, rarer - 1)
        return {"low": low, "high": high}
    if measure == "brier":
        spread = t_quantile(rarer - 1) * _brier_sd(scores, labels, patients, balanced)
        return {"low": max(0.0, value - spread), "high": min(1.0, value + spread)}
    drawn = draws[measure][~np.isnan(draws[measure])]
    counted = {"replicates": int(drawn.size)}
    if drawn.size < 2:
        return none | counted
    low, high = logit_interval(value, drawn, rarer - 1, len(labels))
    return {"low": low, "high": high} | counted


def _prevalence_interval(
    value: float, labels: Floats, patients: NDArray[np.intp], balanced: bool
) -> dict[str, Any]:
    """Wilson's interval with the effective number of admissions.

    Balanced: the weights fix the prevalence, so it has no interval.
    """
    if balanced:
        return {"no_interval": "fixed by the weights"}
    n_patients = int(patients.max()) + 1
    if n_patients < 2:
        return {"no_interval": "too few to say: 1 patient"}
    effective = float(n_patients)  # nobody or everybody was readmitted
    if 0 < value < 1:
        sd = clustered_sd((labels - value) / len(labels), patients)
        effective = min(value * (1 - value) / max(sd**2, 1e-12), float(len(labels)))
    low, high = wilson(value * effective, effective)
    return {"low": low, "high": high}


def _brier_sd(scores: Floats, labels: Floats, patients: NDArray[np.intp], balanced: bool) -> float:
    squares = (scores - labels) ** 2
    if not balanced:
        return clustered_sd((squares - squares.mean()) / len(squares), patients)
    influence = np.zeros(len(squares))
    for label in (0, 1):
        own = labels == label
        influence[own] = (squares[own] - squares[own].mean()) / (2 * own.sum())
    return clustered_sd(influence, patients)


def _measures(ranking: Ranking, weights: Floats) -> dict[str, float]:
    """Return each of MEASURES under weights [n]; not-a-number where undefined."""
    points = weighted_curves(ranking, weights)
    recall, precision, fpr = points.recall, points.precision, points.false_positive_rate
    recall_steps = np.diff(recall)
    rp80 = recall[_rp80_point(points)]
    sorted_weights = weights[ranking.order]
    total = sorted_weights.sum()
    if not total:  # a balanced replicate without a readmitted admission
        return dict.fromkeys(MEASURES, float("nan"))
    return {
        "auroc": float(np.diff(fpr) @ (recall[1:] + recall[:-1]) / 2),
        "auprc": float(recall_steps @ (precision[1:] + precision[:-1]) / 2),
        "average_precision": float(recall_steps @ precision[1:]),
        "rp80": float(rp80 if not np.isnan(recall[-1]) else np.nan),
        "prevalence": float(sorted_weights @ ranking.labels / total),
        "brier": float(sorted_weights @ (ranking.scores - ranking.labels) ** 2 / total),
    }


def _rp80_threshold(scores: Floats, labels: Floats, balanced: bool) -> float | None:
    """Return the threshold of RP80; None if none is precise enough."""
    weights = _weights(labels, np.ones(len(labels)), balanced)
    points = weighted_curves(Ranking.of(scores, labels), weights)
    best = _rp80_point(points)
    return float(points.thresholds[best]) if best else None


def _rp80_point(points: Curves) -> int:
    """Return the index of the largest recall among the points with precision >= 0.8.

    0 (the point at infinity) if there is none. Among points of equal recall the one with the
    highest threshold: it has the fewest false alarms.
    """
    precise = points.precision >= _RP80_PRECISION - _ROUNDING
    return int(np.where(precise, points.recall, 0.0).argmax())
