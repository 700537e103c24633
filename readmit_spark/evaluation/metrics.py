"""Measure how well scores rank and how close they are to the outcomes, with 95 % intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.evaluation.curves import (
    Curves,
    Ranking,
    checked,
    weighted_curves,
    why_no_curve,
)
from readmit_spark.evaluation.intervals import Floats, bootstrap_weights, interval

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


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure scores against labels; return a dict that can be written as JSON.

    scores: [n] probabilities. labels: [n] of 0 and 1. patients: [n] ids, equal for all admissions
    of one patient. The order of the rows does not matter.

    The keys are n, positives, patients, replicates, seed and the names in ``MEASURES``. A measure
    is {"value", "low", "high", "replicates"}: the estimate, its 95 % percentile interval over
    bootstrapped patients, and the number of replicates in which it is defined. low and high are
    None if there is no such replicate or only one patient. rp80 also has "threshold" (None: no
    threshold is precise enough). An undefined measure is {"value": None, "reason": text}.

    Raises ValueError for arrays of different length, a score that is not finite, or a label other
    than 0 and 1.

    >>> evaluate([0.9, 0.1], [1, 0], [7, 8], replicates=0)["auroc"]["value"]
    1.0
    """
    s, y, _, n_patients = checked(scores, labels, patients)
    result: dict[str, Any] = {
        "n": len(s),
        "positives": int(y.sum()),
        "patients": n_patients,
        "replicates": replicates,
        "seed": seed,
    }
    if len(s) == 0:
        return result | {m: _undefined(why_no_curve(y)) for m in MEASURES}
    point, draws = bootstrap(scores, labels, patients, replicates=replicates, seed=seed)
    for m in MEASURES:
        if np.isnan(point[m]):
            result[m] = _undefined(why_no_curve(y))
        else:
            result[m] = {"value": point[m]} | interval(draws[m])
    if result["rp80"]["value"] is not None:
        points = weighted_curves(Ranking.of(s, y), np.ones(len(s)))
        best = _rp80_point(points)
        result["rp80"]["threshold"] = float(points.thresholds[best]) if best else None
    return result


def bootstrap(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the point estimates and the replicates of each of ``MEASURES`` and ``mean_score``.

    The second dict maps a measure to its [replicates] values over bootstrapped patients. A value is
    not-a-number where the measure is undefined.

    The drawn patients depend only on patients and seed, not on the scores. So the replicates of two
    models on the same admissions are paired and can be subtracted. Errors: as ``evaluate``.
    """
    s, y, codes, n_patients = checked(scores, labels, patients)
    ranking = Ranking.of(s, y)
    point = _measures(ranking, np.ones(len(s)))
    draws = [
        _measures(ranking, weights)
        for weights in bootstrap_weights(codes, n_patients, replicates, seed)
    ]
    return point, {m: np.array([draw[m] for draw in draws]) for m in point}


def _measures(ranking: Ranking, weights: Floats) -> dict[str, float]:
    """Return each of MEASURES and mean_score under weights [n]; not-a-number where undefined."""
    points = weighted_curves(ranking, weights)
    recall, precision, fpr = points.recall, points.precision, points.false_positive_rate
    recall_steps = np.diff(recall)
    rp80 = recall[_rp80_point(points)]
    sorted_weights = weights[ranking.order]
    total = sorted_weights.sum()
    return {
        "auroc": float(np.diff(fpr) @ (recall[1:] + recall[:-1]) / 2),
        "auprc": float(recall_steps @ (precision[1:] + precision[:-1]) / 2),
        "average_precision": float(recall_steps @ precision[1:]),
        "rp80": float(rp80 if not np.isnan(recall[-1]) else np.nan),
        "prevalence": float(sorted_weights @ ranking.labels / total),
        "mean_score": float(sorted_weights @ ranking.scores / total),
        "brier": float(sorted_weights @ (ranking.scores - ranking.labels) ** 2 / total),
    }


def _rp80_point(points: Curves) -> int:
    """Return the index of the largest recall among the points with precision >= 0.8.

    0 (the point at infinity) if there is none. Among points of equal recall the one with the
    highest threshold: it has the fewest false alarms.
    """
    return int(np.where(points.precision >= _RP80_PRECISION, points.recall, 0.0).argmax())


def _undefined(reason: str | None) -> dict[str, Any]:
    return {"value": None, "reason": reason}
