"""Which patients are alerted, by the nights that they have spent in the house."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.risk_curve import RiskCurve, fit_risk_curve
from readmit_spark.evaluation.thresholds import operating_points, pick
from readmit_spark.nightly.alerts import AlertRule, alert_rule, last_alert_day
from readmit_spark.nightly.day_fits import DayFits, day_fits

RNG = np.random.default_rng(3)
LABELS = (RNG.random(400) < 0.15).astype(int)
SCORES = np.clip(0.3 * LABELS + RNG.normal(0.4, 0.2, 400), 0.01, 0.99)
POINTS = operating_points(SCORES, LABELS, range(400))
CURVE = RiskCurve("intercept", -2.0, 1.0, 400, 60)
LATER = RiskCurve("intercept", -1.0, 1.0, 400, 60)
ALL_DAYS = {"1days": CURVE, "2days": CURVE, "3days": LATER}


def fits(*windows: str) -> DayFits:
    return day_fits("3days", {}, dict.fromkeys(windows, POINTS))


def test_a_capacity_needs_no_threshold() -> None:
    assert alert_rule("capacity", 20, "3days", fits()) == AlertRule("capacity", 20)


def test_a_stay_is_alerted_until_four_days_after_the_window() -> None:
    assert last_alert_day(load_config()) == 7
    assert last_alert_day(load_config(overrides=["nightly.window=2days"])) == 6
    assert last_alert_day(load_config(overrides=["nightly.alert_days=5"])) == 5
    assert last_alert_day(load_config(overrides=["profile=paper"])) is None
    rule = alert_rule("threshold", 0.5, "3days", fits("3days"), days=7)
    assert (rule.may_alert(7), rule.may_alert(8)) == (True, False)
    assert AlertRule("capacity", 3).may_alert(400)


@pytest.mark.parametrize("value", [2.5, -1])
def test_a_capacity_is_a_number_of_patients(value: float) -> None:
    with pytest.raises(UserError, match="a capacity is a number of patients"):
        alert_rule("capacity", value, "3days", fits("3days"))


def test_a_precision_uses_the_threshold_of_each_day() -> None:
    point = pick(POINTS, 0.3)
    assert point is not None
    assert alert_rule("precision", 0.3, "3days", fits("3days")).thresholds == (point.threshold,) * 3
    by_day = day_fits("3days", ALL_DAYS, dict.fromkeys(ALL_DAYS, POINTS))
    rule = alert_rule("precision", 0.3, "3days", by_day)
    risks = (CURVE.risk(point.threshold), LATER.risk(point.threshold))
    assert rule.thresholds == pytest.approx((risks[0], risks[0], risks[1]))
    assert rule.lowest == pytest.approx(risks[0])


def test_a_precision_that_no_threshold_reaches_alerts_nobody() -> None:
    points = operating_points([0.9] * 30, [0, 0, 1] * 10, range(30))
    rule = alert_rule("precision", 0.9, "3days", day_fits("3days", {}, {"3days": points}))
    assert (rule.thresholds, rule.lowest) == ((None,) * 3, None)


@pytest.mark.parametrize("windows", [(), ("3days",)])
def test_a_precision_needs_thresholds_of_the_window(windows: tuple[str, ...]) -> None:
    points = dict.fromkeys(windows, POINTS)
    with pytest.raises(UserError, match=r"no thresholds for 2days.*train\.window=2days"):
        alert_rule("precision", 0.5, "2days", day_fits("2days", {}, points))


@pytest.mark.parametrize("rule", ["threshold", "precision"])
def test_scores_and_precisions_are_between_0_and_1(rule: str) -> None:
    with pytest.raises(UserError, match=f"a {rule} must be between 0 and 1"):
        alert_rule(rule, 20, "3days", fits("3days"))  # type: ignore[arg-type]


def test_a_threshold_is_the_same_on_every_day() -> None:
    assert alert_rule("threshold", 0.4, "3days", fits()).thresholds == (0.4, 0.4, 0.4)


def test_a_day_without_a_fit_uses_that_of_the_window() -> None:
    assert [fit.window for fit in fits("2days", "3days").days] == ["3days", "2days", "3days"]
    assert fits("2days", "3days").distinct and not fits("3days").distinct


def test_there_are_risks_only_with_a_curve_for_every_day() -> None:
    points = dict.fromkeys(ALL_DAYS, POINTS)
    assert day_fits("3days", ALL_DAYS, points).has_risks
    some = day_fits("3days", {"2days": CURVE, "3days": CURVE}, points)
    assert not some.has_risks and some.days[2].value(0.7) == 0.7
    # Where a window was not prepared, the nightly window stands in, with its curve.
    assert day_fits("3days", {"3days": CURVE}, {"3days": POINTS}).has_risks


@pytest.mark.parametrize(
    ("day_of_stay", "hour", "nights"),
    [(1, 23, 1), (1, 2, 1), (2, 2, 1), (2, 11, 1), (2, 13, 2), (3, 2, 2), (4, 2, 3), (9, 2, 3)],
)
def test_the_fit_is_that_of_the_nearest_midnight(day_of_stay: int, hour: int, nights: int) -> None:
    assert fits("3days").at(day_of_stay, datetime(2026, 1, 9, hour)) == nights - 1


def test_a_fitted_curve_keeps_the_order_of_the_thresholds() -> None:
    curve = fit_risk_curve(SCORES, LABELS, range(400))
    assert curve is not None
    (fit,) = day_fits("1days", {"1days": curve}, {"1days": POINTS}).days
    thresholds = [point.threshold for point in fit.points]
    assert thresholds == sorted(thresholds)
    assert thresholds == pytest.approx([curve.risk(point.threshold) for point in POINTS])
