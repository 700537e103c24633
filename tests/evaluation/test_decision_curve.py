"""The decision curve against the formula by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.evaluation.cross_fit import cross_fitted_risks
from readmit_spark.evaluation.decision_curve import RISKS, decision_curve, highest
from tests.evaluation.random_cohort import cohort, replicates_by_hand

rows = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=1, max_size=30)


def by_hand(alerts: list[bool], labels: list[int], percent: int) -> Fraction:
    right = sum(a and y == 1 for a, y in zip(alerts, labels, strict=True))
    wrong = sum(a and y == 0 for a, y in zip(alerts, labels, strict=True))
    n, odds = len(labels), Fraction(percent, 100 - percent)
    return Fraction(right, n) - Fraction(wrong, n) * odds


@given(rows)
def test_net_benefit_is_the_formula(table: list[tuple[int, int]]) -> None:
    scores, labels = [s / 20 for s, _ in table], [y for _, y in table]
    got = decision_curve(scores, labels, range(len(labels)), capacity_share=0.5)
    for i, risk in enumerate(RISKS):
        percent = i + 1
        model = by_hand([s >= risk for s in scores], labels, percent)
        everybody = by_hand([True] * len(labels), labels, percent)
        assert abs(Fraction(got["model"][i]) - model) < 1e-12
        assert abs(Fraction(got["everybody"][i]) - everybody) < 1e-12
        assert abs(Fraction(got["gain"][i]) - (model - max(everybody, Fraction(0)))) < 1e-12


def test_the_capacity_rule_alerts_the_highest_scores() -> None:
    scores, labels = [0.1, 0.9, 0.4, 0.8], [0, 1, 1, 0]
    got = decision_curve(scores, labels, range(4), capacity_share=0.5)
    assert got["capacity"][19] == pytest.approx(1 / 4 - 1 / 4 * 0.25, abs=1e-12)


def test_equal_scores_share_the_last_places() -> None:
    assert highest(np.array([0.3, 0.9, 0.3, 0.1]), 0.5).tolist() == [0.5, 1, 0.5, 0]
    assert highest(np.array([0.3, 0.9]), 1.0).tolist() == [1, 1]
    assert highest(np.array([]), 0.5).tolist() == []


def test_the_band_agrees_with_the_bootstrap() -> None:
    scores, labels, patients = cohort(800)
    got = decision_curve(scores, labels, patients, capacity_share=0.1)
    drawn: Any = [
        decision_curve(s, y, np.arange(len(s)), capacity_share=0.1)
        for s, y in replicates_by_hand(scores, labels, patients, 300, seed=1)
    ]
    for i in (9, 29, 49):
        low, high = np.percentile([one["model"][i] for one in drawn], (2.5, 97.5))
        assert got["low"][i] == pytest.approx(low, abs=0.01)
        assert got["high"][i] == pytest.approx(high, abs=0.01)


def test_too_few_readmitted_patients_have_no_band() -> None:
    got = decision_curve([0.9, 0.1, 0.2], [1, 0, 0], range(3), capacity_share=0.1)
    assert got["low"][0] is None and got["no_interval"].startswith("too few to say")
    assert decision_curve([], [], [], capacity_share=0.1)["model"] == [None] * len(RISKS)


def test_cross_fitting_mends_scores_that_are_too_high_and_sees_no_own_outcome() -> None:
    scores, labels, patients = cohort(4000, ties=False)
    high = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + 1.5)))
    risks = cross_fitted_risks(high, labels, patients, seed=1)
    assert risks.mean() == pytest.approx(labels.mean(), abs=0.01)
    changed = labels.copy()
    changed[patients == patients[0]] = 1 - changed[patients == patients[0]]
    again = cross_fitted_risks(high, changed, patients, seed=1)
    assert (again[patients == patients[0]] == risks[patients == patients[0]]).all()


def test_cross_fitting_without_an_outcome_leaves_the_scores() -> None:
    assert cross_fitted_risks([0.2, 0.4], [0, 0], [1, 2], seed=1).tolist() == [0.2, 0.4]
    assert cross_fitted_risks([], [], [], seed=1).tolist() == []
