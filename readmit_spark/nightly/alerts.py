"""Decide which patients are alerted on the worklist, and what such alerts did on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import pick
from readmit_spark.nightly.day_fits import DayFits

Rule = Literal["capacity", "threshold", "precision"]


@dataclass(frozen=True)
class AlertRule:
    """Which patients are alerted, by the risk, or by the score where the list has no risks.

    With `capacity`, the `value` highest. Otherwise those of at least the threshold of their day:
    `thresholds` has one for each of `DayFits.days`, with `threshold` all equal to `value`. None:
    nobody is alerted on that day, because no threshold surely reached the precision `value` on
    validation.
    """

    rule: Rule
    value: float
    thresholds: tuple[float | None, ...] = ()

    @property
    def lowest(self) -> float | None:
        """The lowest threshold of any day; None if there is none."""
        return min((t for t in self.thresholds if t is not None), default=None)


def alert_rule(rule: Rule, value: float, window: str, fits: DayFits) -> AlertRule:
    """Make the rule from the configuration.

    Raises UserError if the value does not fit the rule, or if the rule is `precision` and the model
    has no thresholds for the window.
    """
    if rule == "capacity":
        if value != int(value) or value < 0:
            raise UserError(f"nightly.alert_value is {value}: a capacity is a number of patients")
        return AlertRule(rule, value)
    if not 0 <= value <= 1:
        raise UserError(f"nightly.alert_value is {value}: a {rule} must be between 0 and 1")
    if rule == "threshold":
        return AlertRule(rule, value, (value,) * len(fits.days))
    if not any(fit.points for fit in fits.days):
        raise UserError(
            f"nightly.alert=precision: the model has no thresholds for {window} and this c; "
            f"fine-tune it with jobs/finetune.py, train.window={window} and at least 30 validation "
            "admissions, or use capacity or threshold"
        )
    if value == 0:
        raise UserError("nightly.alert_value is 0: a precision must be above 0")
    points = (pick(fit.points, value) for fit in fits.days)
    return AlertRule(rule, value, tuple(point.threshold if point else None for point in points))
