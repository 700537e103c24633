"""Metrics against scikit-learn and plain Python, with ties and missing classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from readmit_spark.evaluation.metrics import (
    MEASURES,
    bands,
    calibration,
    curves,
    evaluate,
    why_no_curve,
)

# (score, label, patient): tenths make ties, and few patients have several admissions each.
rows = st.lists(
    st.tuples(st.integers(0, 10).map(lambda k: k / 10), st.integers(0, 1), st.integers(1, 8)),
    min_size=1,
    max_size=40,
)


def plain_rp80(scores: Any, labels: Any, target: float = 0.8) -> tuple[float, float | None]:
    best, threshold = 0.0, None
    for t in sorted(set(scores), reverse=True):
        flagged = [y for s, y in zip(scores, labels, strict=True) if s >= t]
        # in whole numbers: precision >= 4/5 without rounding
        if 5 * sum(flagged) >= 4 * len(flagged) and sum(flagged) / sum(labels) > best:
            best, threshold = sum(flagged) / sum(labels), t
    return best, threshold


def oracle(scores: Any, labels: Any) -> dict[str, float | None]:
    two = len(set(labels)) == 2
    some = any(labels)
    precision, recall, _ = sk.precision_recall_curve(labels, scores) if some else (None, None, None)
    return {
        "auroc": sk.roc_auc_score(labels, scores) if two else None,
        "auprc": sk.auc(recall, precision) if some else None,
        "average_precision": sk.average_precision_score(labels, scores) if some else None,
        "rp80": plain_rp80(scores, labels)[0] if some else None,
        "prevalence": sum(labels) / len(labels),
        "brier": sum((s - y) ** 2 for s, y in zip(scores, labels, strict=True)) / len(labels),
    }


def cohort(n: int = 400, seed: int = 0, ties: bool = True) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * labels)))
    return np.round(scores, 2) if ties else scores, labels, rng.integers(n // 2, size=n)


@given(rows)
def test_each_measure_equals_its_oracle(table: list[tuple[float, int, int]]) -> None:
    scores, labels, patients = (list(column) for column in zip(*table, strict=True))
    got = evaluate(scores, labels, patients, replicates=0)
    for name, expected in oracle(scores, labels).items():
        assert got[name]["value"] == (
            None if expected is None else pytest.approx(expected, abs=1e-9)
        ), name
    if any(labels):
        assert got["rp80"]["threshold"] == plain_rp80(scores, labels)[1]


def test_constant_scores_rank_nothing() -> None:
    got = evaluate([0.4] * 10, [1] * 3 + [0] * 7, range(10), replicates=20)
    assert got["auroc"]["value"] == 0.5
    assert got["average_precision"]["value"] == pytest.approx(0.3)
    assert got["auprc"]["value"] == pytest.approx(0.65)  # the trapezoid starts at precision 1
    assert got["rp80"] | {"replicates": 0} == {
        "value": 0.0, "low": 0.0, "high": 0.0, "threshold": None, "replicates": 0
    }  # fmt: skip


def test_precision_of_exactly_four_fifths_counts_for_rp80() -> None:
    got = evaluate([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], [1, 1, 0, 1, 1, 0, 1], range(7))
    assert got["rp80"]["value"] == pytest.approx(4 / 5)
    assert got["rp80"]["threshold"] == 0.5


def test_rp80_threshold_has_that_recall_and_precision() -> None:
    scores, labels, patients = cohort()
    got = evaluate(scores, labels, patients, replicates=0)["rp80"]
    flagged = scores >= got["threshold"]
    assert labels[flagged].sum() / labels.sum() == pytest.approx(got["value"])
    assert labels[flagged].mean() >= 0.8


@pytest.mark.parametrize(
    ("labels", "lacking", "reason"),
    [
        ([], set(MEASURES), "no admission"),
        ([0, 0], {"auroc", "auprc", "average_precision", "rp80"}, "no readmitted"),
        ([1, 1], {"auroc"}, "only readmitted"),
    ],
)
def test_an_undefined_measure_is_null_with_its_reason(
    labels: list[int], lacking: set[str], reason: str
) -> None:
    got = evaluate([0.5] * len(labels), labels, range(len(labels)))
    assert {m for m in MEASURES if got[m]["value"] is None} == lacking
    for m in lacking:
        assert set(got[m]) == {"value", "reason"} and got[m]["reason"].startswith(reason)


def replicates_by_hand(scores: Any, labels: Any, patients: Any, count: int, seed: int) -> Any:
    """Yield the rows of each replicate; a patient drawn twice has every row twice."""
    rng = np.random.default_rng(seed)
    ids = sorted(set(patients.tolist()))
    for _ in range(count):
        drawn = [ids[k] for k in rng.integers(len(ids), size=len(ids))]
        at = np.concatenate([np.flatnonzero(patients == one) for one in drawn])
        yield scores[at], labels[at]


def test_interval_is_the_percentiles_over_resampled_patients() -> None:
    scores, labels, patients = cohort(120)
    got = evaluate(scores, labels, patients, replicates=60, seed=5)
    by_hand = [
        oracle(s.tolist(), y.tolist())
        for s, y in replicates_by_hand(scores, labels, patients, 60, seed=5)
    ]
    for m in MEASURES:
        low, high = np.percentile([one[m] for one in by_hand], (2.5, 97.5))
        assert (got[m]["low"], got[m]["high"]) == pytest.approx((low, high), abs=1e-9), m
        assert got[m]["replicates"] == 60


def test_replicates_without_a_class_are_left_out_and_counted() -> None:
    scores, labels, patients = np.array([0.9, 0.2, 0.1]), np.array([1, 0, 0]), np.array([1, 2, 3])
    got = evaluate(scores, labels, patients, replicates=200, seed=1)
    drawn = list(replicates_by_hand(scores, labels, patients, 200, seed=1))
    assert got["auroc"]["replicates"] == sum(0 < y.sum() < len(y) for _, y in drawn) < 200
    assert got["auprc"]["replicates"] == sum(y.any() for _, y in drawn)
    assert got["auroc"]["low"] == got["auroc"]["high"] == 1.0


def test_a_single_patient_has_no_interval() -> None:
    got = evaluate([0.9, 0.1], [1, 0], [7, 7])["auroc"]
    assert (got["value"], got["low"], got["high"]) == (1.0, None, None)


def test_admissions_of_one_patient_widen_the_interval() -> None:
    scores, labels, _ = cohort(300)
    once = evaluate(scores, labels, np.arange(300), replicates=300)["auroc"]
    # Ten copies of the admissions add no information if they belong to the same patients.
    tenfold = [np.tile(column, 10) for column in (scores, labels, np.arange(300))]
    again = evaluate(*tenfold, replicates=300)["auroc"]
    assert (again["low"], again["high"]) == pytest.approx((once["low"], once["high"]), abs=1e-9)
    alone = evaluate(*tenfold[:2], np.arange(3000), replicates=300)["auroc"]
    assert alone["high"] - alone["low"] < (once["high"] - once["low"]) / 2


def test_order_of_rows_does_not_matter() -> None:
    scores, labels, patients = cohort()
    at = np.random.default_rng(1).permutation(len(scores))
    one = evaluate(scores, labels, patients, replicates=50)
    other = evaluate(scores[at], labels[at], patients[at], replicates=50)
    for m in MEASURES:
        assert one[m] == pytest.approx(other[m], abs=1e-12)


def test_same_seed_same_interval_other_seed_another() -> None:
    first, again, other = (evaluate(*cohort(), replicates=50, seed=s) for s in (0, 0, 1))
    assert first == again != other


def test_result_is_plain_json_without_nan() -> None:
    for n in (0, 1, 400):
        got = evaluate(*(column[:n] for column in cohort()), replicates=10)
        assert json.loads(json.dumps(got, allow_nan=False)) == got


@pytest.mark.parametrize(
    ("scores", "labels", "patients", "message"),
    [
        ([0.1], [0, 1], [1, 2], "do not match"),
        ([0.1, np.nan], [0, 1], [1, 2], "finite"),
        ([0.1, 0.2], [0, 2], [1, 2], "0 or 1"),
        ([0.1, 0.2], [0, None], [1, 2], "0 or 1"),
    ],
)
def test_unusable_input_is_refused(scores: Any, labels: Any, patients: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(scores, labels, patients)


@pytest.mark.parametrize("ties", [True, False])
def test_curves_equal_scikit_learn(ties: bool) -> None:
    scores, labels, _ = cohort(ties=ties)
    got = curves(scores, labels)
    fpr, tpr, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    assert got.false_positive_rate == pytest.approx(fpr, abs=1e-9)
    assert got.recall == pytest.approx(tpr, abs=1e-9)
    assert got.thresholds.tolist() == thresholds.tolist()
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    assert got.recall[::-1] == pytest.approx(recall, abs=1e-9)
    assert got.precision[::-1] == pytest.approx(precision, abs=1e-9)


def test_no_curve_of_one_class_and_the_reason_why() -> None:
    assert why_no_curve([0, 1]) is None
    for labels in ([], [0, 0], [1, 1]):
        reason = why_no_curve(labels)
        assert reason
        with pytest.raises(ValueError, match=reason):
            curves([0.5] * len(labels), labels)
        with pytest.raises(ValueError, match=reason):
            bands([0.5] * len(labels), labels, range(len(labels)))


def test_bands_are_the_percentiles_of_scikit_learns_curves() -> None:
    scores, labels, patients = cohort(150, ties=False)
    got = bands(scores, labels, patients, replicates=40, seed=2)
    grid = np.linspace(0, 1, 101)
    tprs, precisions = [], []
    for s, y in replicates_by_hand(scores, labels, patients, 40, seed=2):
        fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
        tprs.append(np.interp(grid, fpr, tpr))
        precision, recall, _ = sk.precision_recall_curve(y, s)
        precisions.append(np.interp(grid, recall[::-1], precision[::-1]))
    low, high = np.percentile(tprs, (2.5, 97.5), axis=0)
    # At 0 and 1 the curve can be vertical, and then interpolation may return either end.
    inside = slice(1, 100)
    assert np.mean(np.abs(got.recall_low - low)[inside]) < 0.01
    assert np.mean(np.abs(got.recall_high - high)[inside]) < 0.01
    low, high = np.percentile(precisions, (2.5, 97.5), axis=0)
    assert np.mean(np.abs(got.precision_low - low)[inside]) < 0.01
    assert np.mean(np.abs(got.precision_high - high)[inside]) < 0.01
    assert (got.recall_low <= got.recall_high).all()


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
