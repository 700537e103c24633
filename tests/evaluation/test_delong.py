"""The AUROC's interval against counting all pairs, and against the plain formulas."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.evaluation.delong import auroc_interval, clustered_variance, components
from tests.evaluation.random_cohort import cohort

# (score, label, patient): few values, so that ties and several admissions are common.
rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 5)), min_size=6, max_size=30
).filter(lambda table: all(len({p for _, y, p in table if y == label}) > 1 for label in (0, 1)))


def beats(a: float, b: float) -> float:
    return 1.0 if a > b else 0.5 if a == b else 0.0


def columns(table: Any) -> tuple[Any, Any, Any]:
    scores, labels, patients = (np.array(column) for column in zip(*table, strict=True))
    return scores.astype(float), labels.astype(float), np.unique(patients, return_inverse=True)[1]


def variance_by_hand(scores: Any, labels: Any, patients: Any) -> float:
    """Obuchowski 1997 with plain sums, patient by patient."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    m, n = len(positive), len(negative)
    auc = sum(beats(scores[i], scores[j]) for i, j in product(positive, negative)) / (m * n)
    people = sorted(set(patients.tolist()))
    x = {p: 0.0 for p in people}
    y = {p: 0.0 for p in people}
    for i in positive:
        x[patients[i]] += sum(beats(scores[i], scores[j]) for j in negative) / n - auc
    for j in negative:
        y[patients[j]] += sum(beats(scores[i], scores[j]) for i in positive) / m - auc
    with_positive, with_negative = len(set(patients[positive])), len(set(patients[negative]))
    s10 = with_positive / ((with_positive - 1) * m) * sum(v * v for v in x.values())
    s01 = with_negative / ((with_negative - 1) * n) * sum(v * v for v in y.values())
    s11 = len(people) / (len(people) - 1) * sum(x[p] * y[p] for p in people)
    return max(s10 / m + s01 / n + 2 * s11 / (m * n), 0.0)


@given(rows)
def test_the_variance_is_the_sum_over_patients(table: Any) -> None:
    scores, labels, patients = columns(table)
    got = clustered_variance(components(scores, labels), labels, patients)
    assert got == pytest.approx(variance_by_hand(scores, labels, patients), abs=1e-12)


@given(rows)
def test_components_are_shares_of_pairs(table: Any) -> None:
    scores, labels, _ = columns(table)
    parts = components(scores, labels)
    positive, negative = scores[labels == 1], scores[labels == 0]
    assert parts.positive == pytest.approx(
        [np.mean([beats(s, t) for t in negative]) for s in positive], abs=1e-12
    )
    assert parts.negative == pytest.approx(
        [np.mean([beats(s, t) for s in positive]) for t in negative], abs=1e-12
    )


def test_with_one_admission_for_each_patient_it_is_delongs_variance() -> None:
    scores, labels, _ = cohort(200)
    parts = components(scores, labels)
    expected = sum(np.var(p, ddof=1) / len(p) for p in (parts.positive, parts.negative))
    assert clustered_variance(parts, labels, np.arange(200)) == pytest.approx(expected, abs=1e-12)


def test_complete_separation_is_not_certainty() -> None:
    scores, labels = np.linspace(0.9, 0.1, 40), np.array([1.0] * 5 + [0.0] * 35)
    low, high = auroc_interval(scores, labels, np.arange(40), df=4)
    assert 0.2 < low < 0.9 and high == 1  # as the estimate


def test_no_score_above_another_is_not_certainty_either() -> None:
    scores, labels = np.linspace(0.1, 0.9, 40), np.array([1.0] * 5 + [0.0] * 35)
    low, high = auroc_interval(scores, labels, np.arange(40), df=4)
    assert low == 0 and 0.1 < high < 0.8
