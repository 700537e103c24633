"""Metrics against scikit-learn and plain Python, with ties and missing classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from readmit_spark.evaluation.metrics import MEASURES, evaluate
from tests.evaluation.random_cohort import cohort, replicates_by_hand

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
