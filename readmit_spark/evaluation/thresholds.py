"""Choose the score above which an alert is raised, from validation scores.

Precision depends on prevalence. A threshold chosen on a balanced set would promise more precision
than a ward sees, so thresholds are chosen at natural prevalence.

The best of many thresholds is the best partly by luck. So few thresholds are compared
(`operating_points`), each has at least `MIN_ALERTS` alerts behind it, and `pick` looks at the lower
bound of the precision. `Threshold.promised` says whether the precision is known well enough to be
promised to a ward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.intervals import wilson

MIN_ALERTS = 30  # a precision of fewer alerts is known to no better than 18 points
PROMISE_ALERTS = 250  # at a precision of 0.8, fewer leave more than `PROMISE_WITHIN`
PROMISE_WITHIN = 0.05  # half the width of the 95 % interval
_STEP = 2**0.5  # between the numbers of alerts that are compared


@dataclass(frozen=True)
class Threshold:
    """The effect of an alert at scores >= `threshold`, measured on `n` admissions.

    precision: share of the alerted admissions that were readmitted. low, high: its 95 % interval.
    recall: share of the readmitted admissions that were alerted. share_alerted: share of all
    admissions that were alerted.
    """

    threshold: float
    precision: float
    low: float
    high: float
    recall: float
    share_alerted: float
    n: int

    @property
    def alerts(self) -> int:
        """The number of alerted admissions."""
        return round(self.share_alerted * self.n)

    @property
    def prevalence(self) -> float:
        """The share of all admissions that were readmitted."""
        return self.precision * self.share_alerted / self.recall if self.recall else 0.0

    @property
    def promised(self) -> bool:
        """Whether the precision is known to within `PROMISE_WITHIN`."""
        return self.alerts >= PROMISE_ALERTS and (self.high - self.low) / 2 <= PROMISE_WITHIN


def operating_points(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[Threshold, ...]:
    """Return thresholds with about 30, 42, 60, 85, … alerts, and that of all admissions; most
    alerts first.

    The intervals are Wilson's, for as many alerts as the admissions of different patients are
    worth (`_effective`). The result is empty if there are fewer than `MIN_ALERTS` admissions or if
    nobody was readmitted. scores: [n]; labels: [n] of 0 and 1; patients: [n] ids.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    positives = int(y.sum())
    if positives == 0:
        return ()
    falling = -np.sort(-s)
    points: dict[float, Threshold] = {}
    for wanted in _numbers_of_alerts(len(s)):
        threshold = float(falling[wanted - 1])
        alerted = s >= threshold  # equal scores are alerted together
        hits, alerts = int(y[alerted].sum()), int(alerted.sum())
        low, high = wilson(*_effective(y[alerted], np.asarray(patients)[alerted]))
        points[threshold] = Threshold(
            threshold, hits / alerts, low, high, hits / positives, alerts / len(s), len(s)
        )
    return tuple(sorted(points.values(), key=lambda point: point.threshold))


def pick(points: Iterable[Threshold], target: float) -> Threshold | None:
    """Return the point with most alerts whose precision is at least `target` with some certainty.

    That is: at least `MIN_ALERTS` alerts, and the lower bound of the 95 % interval is `target` or
    more. None if there is no such point. Raise a ValueError if target is not above 0 and at most 1.
    """
    if not 0.0 < target <= 1.0:
        raise ValueError(f"the target precision is {target}; it must be above 0 and at most 1")
    sure = [p for p in points if p.alerts >= MIN_ALERTS and p.low >= target]
    return max(sure, key=lambda point: point.alerts, default=None)


def at_or_below(points: Iterable[Threshold], threshold: float) -> Threshold | None:
    """Return the point with the highest threshold at or below `threshold`; if there is none, the
    one with the lowest threshold; None without points."""
    points = list(points)
    below = [point for point in points if point.threshold <= threshold]
    if below:
        return max(below, key=lambda point: point.threshold)
    return min(points, key=lambda point: point.threshold, default=None)


def _numbers_of_alerts(n: int) -> list[int]:
    numbers, wanted = [], float(MIN_ALERTS)
    while round(wanted) < n:
        numbers.append(round(wanted))
        wanted *= _STEP
    return [*numbers, n] if n >= MIN_ALERTS else []


def _effective(labels: NDArray[np.int64], patients: NDArray[np.int64]) -> tuple[float, float]:
    """Return (hits, alerts) of independent alerts that would be known equally well.

    Alerts of one patient resemble each other. The design effect is the variance of the precision
    with whole patients as units over that of independent alerts; below 1 it counts as 1.
    """
    alerts, precision = len(labels), float(labels.mean())
    independent = precision * (1 - precision) * alerts
    if independent == 0:
        return float(labels.sum()), float(alerts)
    _, codes = np.unique(patients, return_inverse=True)
    by_patient = np.bincount(codes, weights=labels - precision)
    effect = max(1.0, float((by_patient**2).sum()) / independent)
    return float(labels.sum()) / effect, alerts / effect
