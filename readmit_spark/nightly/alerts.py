"""Decide which scores raise an alert on the worklist, and what such alerts did on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from readmit_spark.errors import UserError
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.scoring.fitted_settings import FittedSettings

Rule = Literal["capacity", "threshold", "precision"]


@dataclass(frozen=True)
class AlertRule:
    """Which patients are alerted.

    With `capacity`, the patients with the `value` highest scores. Otherwise those with a score of
    at least `threshold`; nobody if it is None, because no threshold reached the precision `value`
    on validation.
    """

    rule: Rule
    value: float
    threshold: float | None


@dataclass(frozen=True)
class AlertEffect:
    """The effect of alerting at `threshold` on n validation admissions at natural prevalence.

    precision: share of the alerted admissions that were readmitted. low, high: its 95 % (Wilson)
    interval. share_alerted: share of all admissions that were alerted. prevalence: share of all
    admissions that were readmitted.
    """

    threshold: float
    precision: float
    low: float
    high: float
    share_alerted: float
    prevalence: float
    n: int


def alert_rule(rule: Rule, value: float, window: str, fitted: FittedSettings | None) -> AlertRule:
    """Make the rule from the configuration.

    Raises UserError if the value does not fit the rule, or if the rule is `precision` and the model
    has no thresholds for the window.
    """
    if rule == "capacity":
        if value != int(value) or value < 0:
            raise UserError(f"nightly.alert_value is {value}: a capacity is a number of patients")
        return AlertRule(rule, value, None)
    if not 0 <= value <= 1:
        raise UserError(f"nightly.alert_value is {value}: a {rule} must be between 0 and 1")
    if rule == "threshold":
        return AlertRule(rule, value, value)
    if fitted is None or window not in fitted.alerts:
        raise UserError(
            f"nightly.alert=precision: the model has no thresholds for {window}; fine-tune it "
            f"with jobs/finetune.py and train.window={window}, or use capacity or threshold"
        )
    if value == 0:
        raise UserError("nightly.alert_value is 0: a precision must be above 0")
    point = fitted.threshold(window, value)
    return AlertRule(rule, value, point.threshold if point else None)


def effect_on_validation(
    threshold: float | None, window: str, fitted: FittedSettings | None
) -> AlertEffect | None:
    """Return the effect of alerting at `threshold` on validation; None if it was not measured.

    A model has measured only a few thresholds. The highest of those at or below `threshold` is
    used, or the lowest of all if there is none. The result contains the threshold used.
    """
    points = fitted.alerts.get(window, ()) if fitted else ()
    if threshold is None or not points:
        return None
    below = [point for point in points if point.threshold <= threshold]
    point = (
        max(below, key=lambda p: p.threshold) if below else min(points, key=lambda p: p.threshold)
    )
    alerts = round(point.share_alerted * point.n)
    low, high = wilson(round(point.precision * alerts), alerts)
    return AlertEffect(
        threshold=point.threshold,
        precision=point.precision,
        low=low,
        high=high,
        share_alerted=point.share_alerted,
        prevalence=point.precision * point.share_alerted / point.recall,
        n=point.n,
    )
