"""ROC and precision-recall curves, under any weights of the admissions.

Admissions are sorted by score once, and equal scores form one group (``Ranking``). A weight for
each admission then gives the weighted counts at every threshold. With all weights 1 the result is
the point estimate. With the number of times that each patient was drawn as weights, the result is a
bootstrap replicate. No replicate needs another sort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.intervals import Floats, bootstrap_weights


@dataclass(frozen=True)
class Curves:
    """ROC and precision-recall points, one for each threshold, from the highest threshold down.

    All arrays have the same length. ``thresholds[0]`` is infinity: no admission is flagged, so both
    rates and the recall are 0, and the precision is 1 by convention, as in scikit-learn.
    """

    thresholds: Floats
    false_positive_rate: Floats
    recall: Floats  # also the true positive rate of the ROC curve
    precision: Floats


@dataclass(frozen=True)
class Bands:
    """95 % bootstrap bands of both curves at the points of ``grid`` (0 to 1)."""

    grid: Floats  # false positive rate for ROC, recall for precision-recall
    recall_low: Floats
    recall_high: Floats
    precision_low: Floats
    precision_high: Floats


@dataclass(frozen=True)
class Ranking:
    """Admissions sorted by falling score, and the last position of each run of equal scores."""

    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    thresholds: Floats  # one for each run
    scores: Floats
    labels: Floats

    @classmethod
    def of(cls, scores: Floats, labels: Floats) -> Ranking:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
        return cls(order, ends, falling[ends], falling, labels[order])


def why_no_curve(labels: ArrayLike) -> str | None:
    """Return why these labels allow no ROC and precision-recall curve; None if they do."""
    y = np.asarray(labels)
    if y.size == 0:
        return "no admission to evaluate"
    if not y.any():
        return "no readmitted admission among those evaluated"
    return "only readmitted admissions among those evaluated" if y.all() else None


def curves(scores: ArrayLike, labels: ArrayLike) -> Curves:
    """Return both curves at every threshold.

    Raises ValueError where ``why_no_curve`` gives a reason; other errors: as ``evaluate``.
    """
    s, y, _, _ = checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    if reason := why_no_curve(y):
        raise ValueError(reason)
    return weighted_curves(Ranking.of(s, y), np.ones(len(s)))


def bands(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Bands:
    """Return pointwise 95 % bands of both curves over bootstrapped patients.

    Each replicate's curve is interpolated linearly at 101 grid points. Replicates without positives
    or without negatives are left out. If no replicate is left, the bands are not-a-number. Errors:
    as ``curves``.
    """
    s, y, codes, n_patients = checked(scores, labels, patients)
    if reason := why_no_curve(y):
        raise ValueError(reason)
    ranking, grid = Ranking.of(s, y), np.linspace(0, 1, 101)
    replicate_curves: list[tuple[Floats, Floats]] = []
    for weights in bootstrap_weights(codes, n_patients, replicates, seed):
        points = weighted_curves(ranking, weights)
        if not np.isnan(points.recall[-1] + points.false_positive_rate[-1]):
            tpr = np.interp(grid, points.false_positive_rate, points.recall)
            precision = np.interp(grid, points.recall, points.precision)
            replicate_curves.append((tpr, precision))
    undefined = np.full((1, 2, len(grid)), np.nan)
    drawn = np.array(replicate_curves) if replicate_curves else undefined
    (recall_low, precision_low), (recall_high, precision_high) = np.percentile(
        drawn, (2.5, 97.5), axis=0
    )
    return Bands(grid, recall_low, recall_high, precision_low, precision_high)


def weighted_curves(ranking: Ranking, weights: Floats) -> Curves:
    """Return the weighted curves; a rate is not-a-number if its class has no weight."""
    sorted_weights = weights[ranking.order]
    flagged = np.cumsum(sorted_weights)[ranking.ends]
    tp = np.cumsum(sorted_weights * ranking.labels)[ranking.ends]
    fp = flagged - tp
    with np.errstate(invalid="ignore"):
        recall, fpr = tp / tp[-1], fp / fp[-1]
    # Precision is 1 where nobody is flagged: scikit-learn's convention.
    precision = np.divide(tp, flagged, out=np.ones_like(tp), where=flagged > 0)
    return Curves(
        _prepend(np.inf, ranking.thresholds),
        _prepend(0, fpr),
        _prepend(0, recall),
        _prepend(1, precision),
    )


def checked(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[Floats, Floats, NDArray[np.intp], int]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    ids = np.asarray(patients)
    if not (s.ndim == 1 and s.shape == y.shape == ids.shape):
        raise ValueError(f"scores {s.shape}, labels {y.shape}, patients {ids.shape} do not match")
    if not np.isfinite(s).all():
        raise ValueError("a score is not a finite number")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; remove admissions with an unknown label")
    distinct, codes = np.unique(ids, return_inverse=True)
    return s, y, codes, len(distinct)


def _prepend(first: float, row: Floats) -> Floats:
    return np.concatenate([[first], row])
