"""Calibration against scikit-learn, with ties and small groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from readmit_spark.evaluation.calibration import CALIBRATION, calibration, calibration_measures
from tests.evaluation.random_cohort import cohort, replicates_by_hand


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


def test_the_bins_have_at_least_eleven_admissions() -> None:
    scores, labels, _ = cohort(109, ties=False)
    assert min(b.n for b in calibration(scores, labels)) >= 11


def measured(scores: Any, labels: Any, patients: Any) -> Any:
    codes = np.unique(patients, return_inverse=True)[1]
    return calibration_measures(np.asarray(scores, float), np.asarray(labels, float), codes)


@pytest.mark.parametrize("n", [60, 500])
def test_intercept_and_slope_are_those_of_scikit_learn(n: int) -> None:
    scores, labels, patients = cohort(n, ties=False)
    got = measured(scores, labels, patients)
    x = np.log(scores / (1 - scores))
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], labels)
    assert got["calibration_slope"]["value"] == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    # The intercept makes the mean of the shifted scores the share readmitted.
    shifted = 1 / (1 + np.exp(-(x + got["calibration_intercept"]["value"])))
    assert shifted.mean() == pytest.approx(labels.mean(), abs=1e-9)
    ratio = got["observed_over_expected"]["value"]
    assert ratio == pytest.approx(labels.sum() / scores.sum(), abs=1e-12)


def test_the_intervals_agree_with_the_bootstrap() -> None:
    scores, labels, patients = cohort(1000, ties=False)
    got = measured(scores, labels, patients)
    drawn = [
        {m: v["value"] for m, v in measured(s, y, np.arange(len(s))).items()}
        for s, y in replicates_by_hand(scores, labels, patients, 400, seed=1)
    ]
    for m in CALIBRATION:
        low, high = np.percentile([one[m] for one in drawn], (2.5, 97.5))
        width = high - low
        assert got[m]["low"] == pytest.approx(low, abs=0.15 * width), m
        assert got[m]["high"] == pytest.approx(high, abs=0.15 * width), m


@pytest.mark.parametrize(
    ("scores", "labels", "slope"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], "separate"),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], "separate"),
        ([0.3] * 4, [1, 1, 0, 0], "equal"),
        ([0.3] * 4, [0, 0, 0, 0], "no readmitted"),
    ],
)
def test_there_is_no_slope_where_the_data_cannot_say(
    scores: list[float], labels: list[int], slope: str
) -> None:
    got = measured(scores, labels, range(4))
    assert got["calibration_slope"]["value"] is None
    assert slope in got["calibration_slope"]["reason"]


def test_scores_of_zero_and_one_are_measured() -> None:
    got = measured([0.0, 1.0, 0.4, 0.6, 1.0, 0.2], [0, 1, 1, 0, 0, 1], range(6))
    assert all(np.isfinite(got[m]["value"]) for m in CALIBRATION)
