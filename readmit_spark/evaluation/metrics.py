"""How good the scores are: ranking, calibration, and how sure one can be of either.

Everything rests on one small core. Admissions are sorted by score once and equal scores folded
(``_Ranking``); a *weight* an admission then gives the weighted counts at every threshold. Weights
of 1 are the point estimate; the number of times a patient was drawn is a bootstrap replicate. So
an interval costs no further sort.

The bootstrap draws *patients*, with all their admissions: those of one patient resemble each other,
and drawing them singly would make the intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MEASURES = ("auroc", "auprc", "average_precision", "rp80", "prevalence", "brier")
_Z = 1.959963984540054  # the normal distribution's 97.5 % point
_LEAST_IN_BIN = 10  # a bin of fewer admissions says nothing, and may say something of a patient


@dataclass(frozen=True)
class Curves:
    """Points of both curves, one a threshold from the highest down, after the start of none.

    All arrays have the same length. ``thresholds[0]`` is infinity: nobody is flagged, so both
    rates and the recall are 0, and precision is 1 by convention, as in scikit-learn.
    """

    thresholds: Floats
    false_positive_rate: Floats
    recall: Floats  # also the ROC curve's true positive rate
    precision: Floats


@dataclass(frozen=True)
class Bands:
    """95 % bootstrap bands of both curves, over ``grid`` (0 to 1)."""

    grid: Floats  # false positive rate for ROC, recall for precision-recall
    recall_low: Floats
    recall_high: Floats
    precision_low: Floats
    precision_high: Floats


@dataclass(frozen=True)
class Bin:
    """Admissions of similar score: what was predicted and what came, with a Wilson interval."""

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
    precision_target: float = 0.8,
) -> dict[str, Any]:
    """Measure ``n`` admissions' scores against their labels; the result is plain JSON.

    scores: [n] probabilities; labels: [n] of 0 and 1; patients: [n] ids, equal for the admissions
    of one patient. The order of the rows does not matter.

    Returns ``n``, ``positives``, ``patients``, ``replicates``, ``seed``; for each of ``MEASURES``
    ``{"value", "low", "high", "replicates"}``: the estimate, its 95 % percentile interval over
    bootstrapped patients, and in how many replicates it could be had (the others are left out).
    A measure that cannot be had is ``{"value": None, "reason": ...}``; an interval that cannot be
    had (a single patient, no replicate) has ``low`` and ``high`` of None.

    - auroc: area under the ROC curve, ties counted half.
    - auprc: trapezoid area under the precision-recall curve, as the ClinicalBERT paper has it
      (scikit-learn's ``auc(recall, precision)``); it is a little optimistic, hence beside it
    - average_precision: scikit-learn's ``average_precision_score``.
    - rp80: the largest recall among thresholds of precision >= ``precision_target``, flagging
      scores >= ``threshold``; 0 and a threshold of None where none reaches it.
    - prevalence: the share of positives. brier: mean squared error of the score.

    Raises ValueError for arrays of different length, a score that is not finite, a label other
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
        return result | {m: _absent("no admission to evaluate") for m in MEASURES}
    point, draws = replicates_of(
        scores,
        labels,
        patients,
        replicates=replicates,
        seed=seed,
        precision_target=precision_target,
    )
    for m in MEASURES:
        value = point[m]
        if np.isnan(value):
            result[m] = _absent(why_no_curve(y))
        else:
            result[m] = {"value": value} | interval(draws[m])
    if result["rp80"]["value"] is not None:
        points = _curves(_Ranking.of(s, y), np.ones(len(s)))
        best = _best(points, precision_target)
        result["rp80"]["threshold"] = float(points.thresholds[best]) if best else None
    return result


def replicates_of(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int,
    seed: int,
    precision_target: float = 0.8,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Each of ``MEASURES`` and ``mean_score``: the estimates, and [replicates] values of each over
    bootstrapped patients, not-a-number where one cannot be had.

    Equal labels, patients and seed draw the same patients, whatever the scores: the replicates of
    two models are paired, and may be subtracted one by one. Errors: as ``evaluate``.
    """
    s, y, codes, n_patients = _checked(scores, labels, patients)
    ranking = _Ranking.of(s, y)
    point = _measures(ranking, np.ones(len(s)), precision_target)
    draws = [
        _measures(ranking, weights, precision_target)
        for weights in _resampled(codes, n_patients, replicates, seed)
    ]
    return point, {m: np.array([draw[m] for draw in draws]) for m in point}


def why_no_curve(labels: ArrayLike) -> str | None:
    """Why these labels allow no ROC and precision-recall curve; None where they do."""
    y = np.asarray(labels)
    if y.size == 0:
        return "no admission to evaluate"
    if not y.any():
        return "no readmitted admission among those evaluated"
    return "only readmitted admissions among those evaluated" if y.all() else None


def curves(scores: ArrayLike, labels: ArrayLike) -> Curves:
    """Both curves, every threshold. ValueError where ``why_no_curve`` has a reason."""
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
    """95 % bands, point by point, of both curves over bootstrapped patients.

    Each replicate's curve is read, by linear interpolation, at 101 places. Replicates that lack a
    class are left out; without any, the bands are not-a-number. Errors: as ``curves``.
    """
    s, y, codes, n_patients = _checked(scores, labels, patients)
    if reason := why_no_curve(y):
        raise ValueError(reason)
    ranking, grid = _Ranking.of(s, y), np.linspace(0, 1, 101)
    rows: list[tuple[Floats, Floats]] = []
    for weights in _resampled(codes, n_patients, replicates, seed):
        points = _curves(ranking, weights)
        if not np.isnan(points.recall[-1] + points.false_positive_rate[-1]):
            tpr = np.interp(grid, points.false_positive_rate, points.recall)
            rows.append((tpr, np.interp(grid, points.recall, points.precision)))
    drawn = np.array(rows) if rows else np.full((1, 2, len(grid)), np.nan)
    (recall_low, precision_low), (recall_high, precision_high) = np.percentile(
        drawn, (2.5, 97.5), axis=0
    )
    return Bands(grid, recall_low, recall_high, precision_low, precision_high)


def calibration(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[Bin]:
    """Mean score against observed rate in ``bins`` groups of equal count, by rising score.

    Equal scores stay together (the middle of their ranks decides the bin), so the bins do not
    depend on the order of the rows; a bin left empty thereby is left out. There are fewer bins
    where they would hold fewer than 10 admissions. ``low`` and ``high``: Wilson's 95 % interval.
    """
    s, y, _, _ = _checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    n = len(s)
    bins = max(1, min(bins, n // _LEAST_IN_BIN))
    _, group, size = np.unique(s, return_inverse=True, return_counts=True)
    end = np.cumsum(size)
    # Ranks start..end-1 of a group have the middle (start + end) / 2, in units of half a rank.
    place = (((2 * end - size) * bins) // (2 * n))[group] if n else group
    return [
        Bin(
            int(here.sum()),
            float(s[here].mean()),
            float(y[here].mean()),
            *wilson(int(y[here].sum()), int(here.sum())),
        )
        for here in (place == b for b in np.unique(place))
    ]


@dataclass(frozen=True)
class _Ranking:
    """Admissions by falling score, and where each run of equal scores ends."""

    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    thresholds: Floats  # one a run
    scores: Floats
    labels: Floats

    @classmethod
    def of(cls, scores: Floats, labels: Floats) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        ends = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
        return cls(order, ends, falling[ends], falling, labels[order])


def _curves(ranking: _Ranking, weights: Floats) -> Curves:
    """Weighted curves; a rate whose class has no weight is not-a-number."""
    sorted_weights = weights[ranking.order]
    flagged = np.cumsum(sorted_weights)[ranking.ends]
    tp = np.cumsum(sorted_weights * ranking.labels)[ranking.ends]
    fp = flagged - tp
    with np.errstate(invalid="ignore"):
        recall, fpr = tp / tp[-1], fp / fp[-1]
    # Where nobody is flagged (yet), precision is 1: scikit-learn's convention.
    precision = np.divide(tp, flagged, out=np.ones_like(tp), where=flagged > 0)
    return Curves(
        _led_by(np.inf, ranking.thresholds),
        _led_by(0, fpr),
        _led_by(0, recall),
        _led_by(1, precision),
    )


def _measures(ranking: _Ranking, weights: Floats, precision_target: float) -> dict[str, float]:
    """Each of MEASURES under weights [n]; not-a-number where it cannot be had."""
    points = _curves(ranking, weights)
    recall, precision, fpr = points.recall, points.precision, points.false_positive_rate
    gained = np.diff(recall)
    reached = recall[_best(points, precision_target)]
    sorted_weights = weights[ranking.order]
    total = sorted_weights.sum()
    return {
        "auroc": float(np.diff(fpr) @ (recall[1:] + recall[:-1]) / 2),
        "auprc": float(gained @ (precision[1:] + precision[:-1]) / 2),
        "average_precision": float(gained @ precision[1:]),
        "rp80": float(reached if not np.isnan(recall[-1]) else np.nan),
        "prevalence": float(sorted_weights @ ranking.labels / total),
        "mean_score": float(sorted_weights @ ranking.scores / total),
        "brier": float(sorted_weights @ (ranking.scores - ranking.labels) ** 2 / total),
    }


def _best(points: Curves, precision_target: float) -> int:
    """Where recall is largest at the target precision: the highest threshold that reaches it.

    0, the start, where none does. Of equals the first: as many found with fewer false alarms.
    """
    return int(np.where(points.precision >= precision_target, points.recall, 0.0).argmax())


def _led_by(first: float, row: Floats) -> Floats:
    return np.concatenate([[first], row])


def _resampled(
    codes: NDArray[np.intp], n_patients: int, replicates: int, seed: int
) -> Iterator[Floats]:
    """For each replicate the weights [n]: how often each admission's patient was drawn.

    None for a single patient: always drawing the same one would look like certainty.
    """
    rng = np.random.default_rng(seed)
    for _ in range(replicates if n_patients > 1 else 0):
        drawn = rng.integers(n_patients, size=n_patients)
        yield np.bincount(drawn, minlength=n_patients)[codes].astype(np.float64)


def interval(drawn: Floats) -> dict[str, Any]:
    """``low`` and ``high``, the 95 % percentile interval of the replicates that could be had, and
    how many these are; both None without any."""
    had = drawn[~np.isnan(drawn)]
    if had.size == 0:
        return {"low": None, "high": None, "replicates": int(had.size)}
    low, high = np.percentile(had, (2.5, 97.5))
    return {"low": float(low), "high": float(high), "replicates": int(had.size)}


def _absent(reason: str | None) -> dict[str, Any]:
    return {"value": None, "reason": reason}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the rate hits / n (Wilson 1927, doi
    10.1080/01621459.1927.10502953); n at least 1.

    >>> tuple(round(end, 3) for end in wilson(8, 10))
    (0.49, 0.943)
    """
    p = hits / n
    spread = _Z * float(np.sqrt(p * (1 - p) / n + (_Z / (2 * n)) ** 2))
    centre, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
    # Rounding may pass 0 and 1 by a hair at rates of 0 and 1.
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
        raise ValueError("labels must be 0 or 1; leave admissions of unknown label out")
    distinct, codes = np.unique(ids, return_inverse=True)
    return s, y, codes, len(distinct)
