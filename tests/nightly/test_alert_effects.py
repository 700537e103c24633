"""What a ward can expect of tonight's alerts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.nightly.alert_effects import alert_of_night
from readmit_spark.nightly.alerts import AlertRule, alert_rule
from readmit_spark.nightly.day_fits import day_fits
from readmit_spark.nightly.published_nights import Nights
from readmit_spark.nightly.worklist_types import Patient
from tests.nights import AS_OF, night

RNG = np.random.default_rng(5)
LABELS = (RNG.random(600) < 0.2).astype(int)
SCORES = np.clip(0.3 * LABELS + RNG.normal(0.4, 0.2, 600), 0.01, 0.99)
POINTS = operating_points(SCORES, LABELS, range(600))
FIRST, LATER = RiskCurve("intercept", -2.0, 1.0, 600, 90), RiskCurve("intercept", -1, 1.0, 600, 90)
BY_NIGHT = day_fits(
    "2days", {"1days": FIRST, "2days": LATER}, {"1days": POINTS[1:], "2days": POINTS}
)
NO_NIGHT = Nights(None, None, [], None)


def patients(*days_of_stay: int) -> list[Patient]:
    """Patients with rising risks, of which the last one is alerted."""
    made = night(len(days_of_stay)).patients
    return [
        replace(p, day_of_stay=day, risk=0.1 * i, alert=i == len(days_of_stay))
        for i, (p, day) in enumerate(zip(made, days_of_stay, strict=True), 1)
    ]


def test_each_number_of_nights_has_its_threshold_and_what_was_measured_there() -> None:
    rule = alert_rule("precision", 0.3, "2days", BY_NIGHT)
    alert = alert_of_night(BY_NIGHT, rule, patients(2, 3, 5), NO_NIGHT, AS_OF)
    assert [effect.nights for effect in alert.effects] == ["1 night", "2 nights or more"]
    for effect, fit, threshold in zip(alert.effects, BY_NIGHT.days, rule.thresholds, strict=True):
        assert effect.threshold == threshold and effect.measured in fit.points
        assert effect.measured is not None and effect.measured.threshold == threshold
    assert (alert.threshold, alert.tonight, alert.note) == (None, 1, "")
    one, more = (e.measured.share_alerted for e in alert.effects if e.measured)
    assert alert.expected_a_night == pytest.approx(one + 2 * more)


def test_a_capacity_alerts_from_the_lowest_risk_of_tonight() -> None:
    alert = alert_of_night(BY_NIGHT, AlertRule("capacity", 1), patients(2, 3), NO_NIGHT, AS_OF)
    assert (alert.threshold, alert.expected_a_night) == (pytest.approx(0.2), 1)
    assert [effect.threshold for effect in alert.effects] == [alert.threshold] * 2
    assert all(effect.measured and effect.measured.threshold <= 0.2 for effect in alert.effects)


def test_stays_that_are_too_old_are_not_expected_to_be_alerted() -> None:
    rule = AlertRule("capacity", 20, days=3)
    assert alert_of_night(BY_NIGHT, rule, patients(2, 3, 9), NO_NIGHT, AS_OF).expected_a_night == 2
    rule = alert_rule("precision", 0.3, "2days", BY_NIGHT, days=3)
    alert = alert_of_night(BY_NIGHT, rule, patients(2, 9), NO_NIGHT, AS_OF)
    first = alert.effects[0].measured
    assert first is not None and alert.days == 3
    assert alert.expected_a_night == pytest.approx(first.share_alerted)


def test_one_fit_for_all_nights_is_said_once() -> None:
    fits = day_fits("2days", {"2days": LATER}, {"2days": POINTS})
    rule = alert_rule("threshold", 0.0, "2days", fits)
    alert = alert_of_night(fits, rule, patients(2, 3), NO_NIGHT, AS_OF)
    (effect,) = alert.effects
    assert (effect.nights, alert.threshold) == ("", 0.0)
    assert "complete documents of 2days" in alert.note


def test_a_model_without_figures_says_so() -> None:
    fits = day_fits("2days", {}, {})
    rule = alert_rule("threshold", 0.5, "2days", fits)
    alert = alert_of_night(fits, rule, patients(2, 3), NO_NIGHT, AS_OF)
    assert alert.expected_a_night is None and alert.effects[0].measured is None
    assert "no figures from validation for this window and c" in alert.note
