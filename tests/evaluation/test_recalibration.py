"""Risks that are fitted again on a hospital's own patients."""

from __future__ import annotations

import numpy as np
import pytest

from readmit_spark.evaluation.logistic import expit, logits
from readmit_spark.evaluation.recalibration import recalibrate, unseen_risks
from readmit_spark.evaluation.risk_curve import RiskCurve, fit_risk_curve

STEEP = RiskCurve("slope", -1.0, 0.6, 900, 150)
ISOTONIC = RiskCurve("isotonic", 0.0, 1.0, 9000, 1500, ((0.2, 0.1), (0.5, 0.1), (0.8, 0.7)))


def hospital(n: int, curve: RiskCurve, shift: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Scores, labels drawn from the curve's risks with another intercept, and patients."""
    rng = np.random.default_rng(seed)
    scores = expit(rng.normal(0, 1.5, n))
    risks = expit(logits(curve.risks(scores)) + shift)
    return scores, (rng.random(n) < risks).astype(int), np.arange(n) // 2


@pytest.mark.parametrize("curve", [STEEP, ISOTONIC])
def test_few_events_move_the_intercept_and_keep_the_shape(curve: RiskCurve) -> None:
    scores, labels, patients = hospital(300, curve, -1.0)
    assert 10 <= labels.sum() < 100
    moved = recalibrate(curve, scores, labels, patients)
    assert moved is not None and (moved.method, moved.slope) == (curve.method, curve.slope)
    # On average the risks are right, and all logits have moved by the same number.
    assert moved.risks(scores).mean() == pytest.approx(labels.mean(), abs=1e-9)
    at = [0.2, 0.5, 0.8]  # where the isotonic curve has its knots
    shifts = logits(moved.risks(at)) - logits(curve.risks(at))
    assert shifts == pytest.approx([shifts[0]] * 3) and -1.6 < shifts[0] < -0.5


def test_many_events_fit_a_new_curve() -> None:
    scores, labels, patients = hospital(3000, STEEP, 0.5)
    assert recalibrate(STEEP, scores, labels, patients) == fit_risk_curve(scores, labels, patients)
    assert recalibrate(None, scores, labels, patients) == fit_risk_curve(scores, labels, patients)


def test_too_few_events_change_nothing() -> None:
    labels = np.r_[np.ones(9, int), np.zeros(200, int)]
    assert recalibrate(STEEP, np.linspace(0.1, 0.9, 209), labels, np.arange(209)) is None


def test_unseen_risks_come_from_other_patients() -> None:
    scores, labels, patients = hospital(400, STEEP, -1.0)
    risks = unseen_risks(STEEP, scores, labels, patients)
    # What happened to a patient changes the risks of others, never the patient's own.
    turned = labels.copy()
    turned[patients == 7] = 1 - turned[patients == 7]
    other = unseen_risks(STEEP, scores, turned, patients)
    assert (risks[patients == 7] == other[patients == 7]).all()
    assert not np.array_equal(risks, other)


def test_recalibration_helps_where_readmission_is_rarer() -> None:
    before, after = [], []
    for seed in range(10):
        scores, labels, patients = hospital(500, STEEP, -1.2, seed)
        for risks, losses in (
            (STEEP.risks(scores), before),
            (unseen_risks(STEEP, scores, labels, patients), after),
        ):
            losses.append(((risks - labels) ** 2).mean())
    assert np.mean(after) < 0.95 * np.mean(before)
