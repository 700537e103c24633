"""Choose the score above which an alert is raised, from validation scores.

Precision depends on prevalence. A threshold chosen on a balanced set would promise more precision
than a ward sees, so thresholds are chosen at natural prevalence. `operating_points` lists the
thresholds that no other threshold beats in both precision and recall; `pick` selects one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.evaluation.curves import curves, why_no_curve


@dataclass(frozen=True)
class Threshold:
    """The effect of an alert at scores >= `threshold`, measured on `n` admissions.

    precision: share of the alerted admissions that were readmitted. recall: share of the readmitted
    admissions that were alerted. share_alerted: share of all admissions that were alerted.
    """

    threshold: float
    precision: float
    recall: float
    share_alerted: float
    n: int


def operating_points(scores: ArrayLike, labels: ArrayLike) -> list[Threshold]:
    """Return the thresholds that none beats in both precision and recall, largest recall first.

    Precision rises down the list. There is at most one threshold for each readmitted admission. The
    list is empty if all labels are equal. scores: [n]; labels: [n] of 0 and 1, one for each
    admission. Errors: as `evaluation.metrics.evaluate`.

    >>> for point in operating_points([0.9, 0.7, 0.6, 0.2], [1, 0, 1, 0]):
    ...     print(point.threshold, round(point.precision, 2), point.recall)
    0.6 0.67 1.0
    0.9 1.0 0.5
    """
    if why_no_curve(labels) is not None:
        return []
    points, n = curves(scores, labels), np.size(np.asarray(scores))
    positives = float(np.sum(np.asarray(labels)))
    best: list[Threshold] = []
    # From the lowest threshold up, without the point at infinity, where nobody is alerted.
    for i in range(len(points.thresholds) - 1, 0, -1):
        precision, recall = float(points.precision[i]), float(points.recall[i])
        if recall == 0.0 or (best and precision <= best[-1].precision):
            continue
        if best and recall == best[-1].recall:
            best.pop()
        alerts = recall * positives / precision
        best.append(
            Threshold(float(points.thresholds[i]), precision, recall, round(alerts) / n, int(n))
        )
    return best


def pick(points: Iterable[Threshold], target: float) -> Threshold | None:
    """Return the first of `operating_points` with precision >= `target`; None if there is none.

    It is the threshold with the largest recall at that precision; with a target of 0.8, the
    threshold of RP80. Raises ValueError if target is not above 0 and at most 1.
    """
    if not 0.0 < target <= 1.0:
        raise ValueError(f"the target precision is {target}; it must be above 0 and at most 1")
    return next((point for point in points if point.precision >= target), None)
