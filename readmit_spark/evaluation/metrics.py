"""Measure how well scores rank and how well they are calibrated, with confidence intervals.

Admissions are sorted by score once, and equal scores form one group (``_Ranking``). A weight for
each admission then gives the weighted counts at every threshold. With all weights 1 the result is
the point estimate. With the number of times that each patient was drawn as weights, the result is a
bootstrap replicate. No replicate needs another sort.

The bootstrap draws patients, each with all their admissions. Admissions of one patient resemble
each other; drawing single admissions would make the intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

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
_Z = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
_MIN_PER_BIN = 10  # smaller calibration bins are noise and could reveal a patient's outcome


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
class Bin:
    """Admissions of similar score: predicted and observed rate, with the observed rate's interval.

    low, high: Wilson's 95 % interval of ``observed``.
    """

    n: int
    mean_score: float
    observed: float
    low: float
    high: float


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
    s, y, _, n_patients = _checked(scores, labels, patients)
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
        points = _curves(_Ranking.of(s, y), np.ones(len(s)))
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
    s, y, codes, n_patients = _checked(scores, labels, patients)
    ranking = _Ranking.of(s, y)
    point = _measures(ranking, np.ones(len(s)))
    draws = [
        _measures(ranking, weights)
        for weights in _bootstrap_weights(codes, n_patients, replicates, seed)
    ]
    return point, {m: np.array([draw[m] for draw in draws]) for m in point}


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
    s, y, _, _ = _checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    if reason := why_no_curve(y):
        raise ValueError(reason)
    return _curves(_Ranking.of(s, y), np.ones(len(s)))


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
    s, y, codes, n_patients = _checked(scores, labels, patients)
    if reason := why_no_curve(y):
        raise ValueError(reason)
    ranking, grid = _Ranking.of(s, y), np.linspace(0, 1, 101)
    replicate_curves: list[tuple[Floats, Floats]] = []
    for weights in _bootstrap_weights(codes, n_patients, replicates, seed):
        points = _curves(ranking, weights)
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


def calibration(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[Bin]:
    """Return mean score and observed rate in ``bins`` groups of equal size, by rising score.

    Equal scores are in the same bin (their middle rank decides which), so the bins do not depend
    on the order of the rows. Empty bins are left out. The number of bins is reduced until each
    would have at least 10 admissions.
    """
    s, y, _, _ = _checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    n = len(s)
    bins = max(1, min(bins, n // _MIN_PER_BIN))
    _, group, size = np.unique(s, return_inverse=True, return_counts=True)
    end = np.cumsum(size)
    # Equal scores with ranks start..end-1 have the middle rank (start + end) / 2; in integers:
    bin_of = (((2 * end - size) * bins) // (2 * n))[group] if n else group
    return [
        Bin(
            int(in_bin.sum()),
            float(s[in_bin].mean()),
            float(y[in_bin].mean()),
            *wilson(int(y[in_bin].sum()), int(in_bin.sum())),
        )
        for in_bin in (bin_of == b for b in np.unique(bin_of))
    ]


@dataclass(frozen=True)
class _Ranking:
    """Admissions sorted by falling score, and the last position of each run of equal scores."""

    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    thresholds: Floats  # one for each run
    scores: Floats
    labels: Floats

    @classmethod
    def of(cls, scores: Floats, labels: Floats) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
        return cls(order, ends, falling[ends], falling, labels[order])


def _curves(ranking: _Ranking, weights: Floats) -> Curves:
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


def _measures(ranking: _Ranking, weights: Floats) -> dict[str, float]:
    """Return each of MEASURES and mean_score under weights [n]; not-a-number where undefined."""
    points = _curves(ranking, weights)
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


def _prepend(first: float, row: Floats) -> Floats:
    return np.concatenate([[first], row])


def _bootstrap_weights(
    codes: NDArray[np.intp], n_patients: int, replicates: int, seed: int
) -> Iterator[Floats]:
    """Yield for each replicate the weights [n]: how often each admission's patient was drawn.

    Yields nothing for a single patient: an interval of width 0 would look like certainty.
    """
    rng = np.random.default_rng(seed)
    for _ in range(replicates if n_patients > 1 else 0):
        drawn = rng.integers(n_patients, size=n_patients)
        yield np.bincount(drawn, minlength=n_patients)[codes].astype(np.float64)


def interval(drawn: Floats) -> dict[str, Any]:
    """Return the 95 % percentile interval (low, high) and the number of replicates it rests on.

    Replicates that are not-a-number are ignored. low and high are None if no other is left.
    """
    defined = drawn[~np.isnan(drawn)]
    if defined.size == 0:
        return {"low": None, "high": None, "replicates": 0}
    low, high = np.percentile(defined, (2.5, 97.5))
    return {"low": float(low), "high": float(high), "replicates": int(defined.size)}


def _undefined(reason: str | None) -> dict[str, Any]:
    return {"value": None, "reason": reason}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the rate hits / n, for n of at least 1.

    Wilson 1927, doi 10.1080/01621459.1927.10502953.

    >>> tuple(round(end, 3) for end in wilson(8, 10))
    (0.49, 0.943)
    """
    p = hits / n
    spread = _Z * float(np.sqrt(p * (1 - p) / n + (_Z / (2 * n)) ** 2))
    centre, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
    # At rates of 0 and 1, rounding errors may lead slightly beyond 0 and 1.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _checked(
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
