"""Calibration against scikit-learn, with ties and small groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from readmit_spark.evaluation.calibration import calibration
from tests.evaluation.random_cohort import cohort


def wilson(positives: int, n: int) -> tuple[float, float]:
    """Wilson's bounds as the roots of (p - rate)^2 = z^2 p (1 - p) / n."""
    z2, rate = 1.959963984540054**2, positives / n
    low, high = sorted(np.roots([1 + z2 / n, -(2 * rate + z2 / n), rate**2]).real)
    return max(low, 0.0), min(high, 1.0)


def test_calibration_equals_scikit_learns_where_scores_differ() -> None:
    scores, labels, _ = cohort(500, ties=False)
    got = calibration(scores, labels)
    observed, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [b.n for b in got] == [50] * 10
    assert [b.observed for b in got] == pytest.approx(observed, abs=1e-9)
    assert [b.mean_score for b in got] == pytest.approx(predicted, abs=1e-9)
    for b in got:
        assert (b.low, b.high) == pytest.approx(wilson(round(b.observed * b.n), b.n), abs=1e-6)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), max_size=80), st.randoms())
def test_calibration_keeps_all_rows_and_equal_scores_together(
    table: list[tuple[int, int]], random: Any
) -> None:
    def of(rows: list[tuple[int, int]]) -> Any:
        return calibration([s / 6 for s, _ in rows], [y for _, y in rows])

    got, shuffled = of(table), random.sample(table, len(table))
    assert sum(b.n for b in got) == len(table)
    assert sum(b.n * b.observed for b in got) == pytest.approx(sum(y for _, y in table))
    assert len(got) <= len({s for s, _ in table})
    assert [(b.n, b.observed) for b in of(shuffled)] == [(b.n, b.observed) for b in got]


def test_calibration_has_no_bin_of_a_few_admissions() -> None:
    scores, labels, _ = cohort(45, ties=False)
    assert [b.n for b in calibration(scores, labels)] == [11, 11, 12, 11]
    assert [b.n for b in calibration(scores[:4], labels[:4])] == [4]
