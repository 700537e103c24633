"""Where to raise an alert: thresholds on the score, learnt on validation at natural prevalence.

Precision depends on prevalence, so a threshold learnt on a balanced set promises too much. What
each precision costs is a short table (`operating_points`): the thresholds that no other one beats
in both precision and recall.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.evaluation.metrics import curves, why_no_curve


@dataclass(frozen=True)
class Threshold:
    """Alert on scores >= `threshold`: how that went on `n` admissions.

    precision: share of the alerts that were readmitted. recall: share of the readmitted that were
    alerts. share_alerted: alerts among all admissions.
    """

    threshold: float
    precision: float
    recall: float
    share_alerted: float
    n: int


def threshold_for_precision(
    scores: ArrayLike, labels: ArrayLike, target: float
) -> Threshold | None:
    """The threshold of the largest recall whose precision is >= `target`; None if none reaches it.

    scores: [n], labels: [n] of 0 and 1, both of whole admissions at natural prevalence. Equal
    scores are alerted together. Of thresholds with the same recall, the highest: as many found with
    fewer false alarms. It is the threshold of RP80 at a target of 0.8. Errors: as
    `core.metrics.curves` for other input; None for a set that lacks a class.

    >>> found = threshold_for_precision([0.9, 0.7, 0.6, 0.2], [1, 0, 1, 0], target=0.6)
    >>> (found.threshold, round(found.precision, 2), found.recall)
    (0.6, 0.67, 1.0)
    """
    return pick(operating_points(scores, labels), target)


def operating_points(scores: ArrayLike, labels: ArrayLike) -> list[Threshold]:
    """Every threshold that none beats in both precision and recall, the largest recall first.

    So precision rises down the list, and the first row that reaches a target is the answer to it.
    Empty where a class is missing. At most one row a readmitted admission.
    """
    if why_no_curve(labels) is not None:
        return []
    points, n = curves(scores, labels), np.size(np.asarray(scores))
    positives = float(np.sum(np.asarray(labels)))
    found: list[Threshold] = []
    # From the lowest threshold up; the first point is the start, where nobody is alerted.
    for i in range(len(points.thresholds) - 1, 0, -1):
        precision, recall = float(points.precision[i]), float(points.recall[i])
        if recall == 0.0 or (found and precision <= found[-1].precision):
            continue
        if found and recall == found[-1].recall:
            found.pop()
        alerts = recall * positives / precision
        found.append(
            Threshold(float(points.thresholds[i]), precision, recall, round(alerts) / n, int(n))
        )
    return found


def pick(points: Iterable[Threshold], target: float) -> Threshold | None:
    """The first of `operating_points` whose precision is >= `target`; ValueError outside 0 to 1."""
    if not 0.0 < target <= 1.0:
        raise ValueError(f"a precision of {target} is asked for; it must be above 0 and at most 1")
    return next((point for point in points if point.precision >= target), None)
