"""Which scores raise an alert, and the measured effect of alerts."""

from __future__ import annotations

import numpy as np
import pytest

from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.nightly.alerts import AlertRule, alert_rule, effect_on_validation
from readmit_spark.scoring.fitted_settings import FittedSettings

RNG = np.random.default_rng(3)
LABELS = (RNG.random(400) < 0.15).astype(int)
SCORES = np.clip(0.3 * LABELS + RNG.normal(0.4, 0.2, 400), 0, 1)
LEARNT = FittedSettings("3days", 512, 2.0, {"3days": operating_points(SCORES, LABELS)})


def test_a_capacity_needs_no_threshold() -> None:
    assert alert_rule("capacity", 20, "3days", None) == AlertRule("capacity", 20, None)


@pytest.mark.parametrize("value", [2.5, -1])
def test_a_capacity_is_a_number_of_patients(value: float) -> None:
    with pytest.raises(UserError, match="a capacity is a number of patients"):
        alert_rule("capacity", value, "3days", None)


def test_a_precision_uses_the_threshold_with_the_largest_recall() -> None:
    threshold = alert_rule("precision", 0.5, "3days", LEARNT).threshold
    assert threshold is not None
    alerted = LABELS[threshold <= SCORES]
    assert alerted.mean() >= 0.5
    precise = [t for t in SCORES if LABELS[t <= SCORES].mean() >= 0.5]
    assert alerted.sum() == max(LABELS[t <= SCORES].sum() for t in precise)


def test_a_precision_that_no_threshold_reaches_alerts_nobody() -> None:
    never = FittedSettings(
        "3days", 512, 2.0, {"3days": operating_points([0.9, 0.8, 0.7], [0, 0, 1])}
    )
    assert alert_rule("precision", 0.9, "3days", never) == AlertRule("precision", 0.9, None)


@pytest.mark.parametrize("fitted", [None, LEARNT])
def test_a_precision_needs_thresholds_of_the_window(fitted: FittedSettings | None) -> None:
    with pytest.raises(UserError, match=r"no thresholds for 2days.*train\.window=2days"):
        alert_rule("precision", 0.5, "2days", fitted)


@pytest.mark.parametrize("rule", ["threshold", "precision"])
def test_scores_and_precisions_are_between_0_and_1(rule: str) -> None:
    with pytest.raises(UserError, match=f"a {rule} must be between 0 and 1"):
        alert_rule(rule, 20, "3days", LEARNT)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.5, 0.62, 1.0])
def test_the_effect_was_measured_at_the_threshold_in_the_result(threshold: float) -> None:
    effect = effect_on_validation(threshold, "3days", LEARNT)
    assert effect is not None
    alerted = LABELS[effect.threshold <= SCORES]
    assert effect.precision == pytest.approx(alerted.mean())
    assert effect.share_alerted == pytest.approx(len(alerted) / 400)
    assert effect.prevalence == pytest.approx(LABELS.mean(), abs=1e-9)
    assert effect.low < effect.precision <= effect.high
    lowest = min(point.threshold for point in LEARNT.alerts["3days"])
    assert effect.threshold <= max(threshold, lowest)


def test_an_effect_that_was_not_measured_is_none() -> None:
    assert effect_on_validation(0.5, "2days", LEARNT) is None
    assert effect_on_validation(0.5, "3days", None) is None
    assert effect_on_validation(None, "3days", LEARNT) is None
