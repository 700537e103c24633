"""What the model's validation says about patients on each day of their stay.

After one midnight in the house a patient has fewer notes than after three, and other patients are
still there. So each of the first days has risks and thresholds of its own: those of the window that
ends with it. The last day of the window stands for all later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.notes.windows import parse_window


@dataclass(frozen=True)
class DayFit:
    """window: whose validation is used. curve: None if scores have no risks. points: the alert
    thresholds, as risks where there is a curve, else as scores."""

    window: str
    curve: RiskCurve | None
    points: Sequence[Threshold]

    def value(self, score: float) -> float:
        """Return what the list shows for a score: the risk, or the score itself."""
        return score if self.curve is None else self.curve.risk(score)


@dataclass(frozen=True)
class DayFits:
    """days: one for each day of the window, the first one first; the last is for later days too."""

    days: tuple[DayFit, ...]

    @property
    def has_risks(self) -> bool:
        """Whether the list shows risks; otherwise it shows scores."""
        return self.days[0].curve is not None

    @property
    def distinct(self) -> bool:
        """Whether the days have fits of their own."""
        return len({fit.window for fit in self.days}) > 1

    def at(self, day_of_stay: int, when: datetime) -> int:
        """Return the index of the fit for a patient, from `day_of_stay` (1 on the day of admission)
        at the time `when`: that of the nearest midnight of the stay."""
        midnights = day_of_stay - 1 if when.hour < 12 else day_of_stay
        return min(max(midnights, 1), len(self.days)) - 1


def day_fits(
    window: str,
    curves: Mapping[str, RiskCurve],
    points: Mapping[str, Sequence[Threshold]],
) -> DayFits:
    """Return the fits for the nightly window, from the model's curves and thresholds by window.

    A day that has none uses those of the window itself. Without a curve for every day no day has
    one, because risks and scores cannot be ranked together.
    """
    days = parse_window(window).days or 1
    names = [f"{day}days" for day in range(1, days + 1)]
    names = [name if name in points else window for name in names]
    if not all(name in curves for name in names):
        return DayFits(tuple(DayFit(name, None, points.get(name, ())) for name in names))
    return DayFits(tuple(_as_risks(name, curves[name], points.get(name, ())) for name in names))


def _as_risks(window: str, curve: RiskCurve, points: Sequence[Threshold]) -> DayFit:
    risks = [replace(point, threshold=curve.risk(point.threshold)) for point in points]
    return DayFit(window, curve, risks)
