"""Decide which patients are alerted on the worklist, and what such alerts did on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import pick
from readmit_spark.nightly.day_fits import DayFits
from readmit_spark.notes.windows import parse_window

_DAYS_AFTER_WINDOW = 4  # a ward has some days to act on the complete document
Rule = Literal["capacity", "threshold", "precision"]


@dataclass(frozen=True)
class AlertRule:
    """Which patients are alerted, by the risk, or by the score where the list has no risks.

    With `capacity`, the `value` highest. Otherwise those of at least the threshold of their day:
    `thresholds` has one for each of `DayFits.days`, with `threshold` all equal to `value`. None:
    nobody is alerted on that day, because no threshold surely reached the precision `value` on
    validation. days: the last day of a stay on which it can be alerted; None: any.
    """

    rule: Rule
    value: float
    thresholds: tuple[float | None, ...] = ()
    days: int | None = None

    def may_alert(self, day_of_stay: int) -> bool:
        """Return whether a patient can be alerted on this day of the stay."""
        return self.days is None or day_of_stay <= self.days

    @property
    def lowest(self) -> float | None:
        """The lowest threshold of any day; None if there is none."""
        return min((t for t in self.thresholds if t is not None), default=None)


def last_alert_day(config: Config) -> int | None:
    """Return the last day of a stay on which it can be alerted: `nightly.alert_days`, else some
    days after the window; None in the paper profile.

    Notes after the window are not read, so an older stay keeps its score. With no end, the same old
    stays would take the alerts of every night.
    """
    if config.nightly.alert_days is not None or config.profile == "paper":
        return config.nightly.alert_days
    return (parse_window(config.nightly.window).days or 0) + _DAYS_AFTER_WINDOW


def alert_rule(
    rule: Rule, value: float, window: str, fits: DayFits, days: int | None = None
) -> AlertRule:
    """Make the rule from the configuration. days: from `last_alert_day`.

    Raises UserError if the value does not fit the rule, or if the rule is `precision` and the model
    has no thresholds for the window.
    """
    if rule == "capacity":
        if value != int(value) or value < 0:
            raise UserError(f"nightly.alert_value is {value}: a capacity is a number of patients")
        return AlertRule(rule, value, days=days)
    if not 0 <= value <= 1:
        raise UserError(f"nightly.alert_value is {value}: a {rule} must be between 0 and 1")
    if rule == "threshold":
        return AlertRule(rule, value, (value,) * len(fits.days), days)
    if not any(fit.points for fit in fits.days):
        raise UserError(
            f"nightly.alert=precision: the model has no thresholds for {window} and this c; "
            f"fine-tune it with jobs/finetune.py, train.window={window} and at least 30 validation "
            "admissions, or use capacity or threshold"
        )
    if value == 0:
        raise UserError("nightly.alert_value is 0: a precision must be above 0")
    points = (pick(fit.points, value) for fit in fits.days)
    thresholds = tuple(point.threshold if point else None for point in points)
    return AlertRule(rule, value, thresholds, days)
