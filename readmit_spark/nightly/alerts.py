"""Who is marked on the worklist: the rule, and what it may be expected to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from readmit_spark.errors import UserError
from readmit_spark.evaluation.metrics import wilson
from readmit_spark.scoring.fitted import Learnt

Rule = Literal["capacity", "threshold", "precision"]


@dataclass(frozen=True)
class AlertRule:
    """`capacity`: the `value` highest scores. Else scores of `threshold` or more; nobody where it
    is None, as no threshold reached the precision of `value` on validation."""

    rule: Rule
    value: float
    threshold: float | None


@dataclass(frozen=True)
class Expected:
    """How alerting at `threshold` did on n validation admissions, at their natural prevalence.

    precision: of the alerted, the share that was readmitted, with its 95 % (Wilson) interval.
    share_alerted: alerts among all. prevalence: readmitted among all.
    """

    threshold: float
    precision: float
    low: float
    high: float
    share_alerted: float
    prevalence: float
    n: int


def alert_rule(rule: Rule, value: float, window: str, learnt: Learnt | None) -> AlertRule:
    """The rule of the configuration. UserError where the value does not fit it, or where the model
    has learnt no thresholds for the window."""
    if rule == "capacity":
        if value != int(value) or value < 0:
            raise UserError(f"nightly.alert_value is {value}: a capacity is a number of patients")
        return AlertRule(rule, value, None)
    if not 0 <= value <= 1:
        raise UserError(f"nightly.alert_value is {value}: a {rule} lies between 0 and 1")
    if rule == "threshold":
        return AlertRule(rule, value, value)
    if learnt is None or window not in learnt.alerts:
        raise UserError(
            f"nightly.alert=precision: the model brings no thresholds for {window}; fine-tune it "
            f"with jobs/finetune.py and train.window={window}, or use capacity or threshold"
        )
    if value == 0:
        raise UserError("nightly.alert_value is 0: a precision lies above 0")
    found = learnt.threshold(window, value)
    return AlertRule(rule, value, found.threshold if found else None)


def expected(threshold: float | None, window: str, learnt: Learnt | None) -> Expected | None:
    """What validation says of alerting at `threshold`; None where it says nothing.

    A model brings along a few thresholds only: of those not above this one, the nearest is taken,
    else the lowest; the result names it.
    """
    points = learnt.alerts.get(window, ()) if learnt else ()
    if threshold is None or not points:
        return None
    below = [point for point in points if point.threshold <= threshold]
    point = (
        max(below, key=lambda p: p.threshold) if below else min(points, key=lambda p: p.threshold)
    )
    alerts = round(point.share_alerted * point.n)
    low, high = wilson(round(point.precision * alerts), alerts)
    return Expected(
        threshold=point.threshold,
        precision=point.precision,
        low=low,
        high=high,
        share_alerted=point.share_alerted,
        prevalence=point.precision * point.share_alerted / point.recall,
        n=point.n,
    )
