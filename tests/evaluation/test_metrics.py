"""Metrics against scikit-learn and plain Python, with ties and missing classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn import metrics as sk

from readmit_spark.evaluation.calibration import CALIBRATION
from readmit_spark.evaluation.intervals import is_too_few
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
    assert (got["rp80"]["value"], got["rp80"]["threshold"]) == (0.0, None)


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


def replicates_of(scores: Any, labels: Any, patients: Any, seed: int) -> list[Any]:
    return [
        oracle(s.tolist(), y.tolist())
        for s, y in replicates_by_hand(scores, labels, patients, 60, seed=seed)
    ]


@pytest.mark.parametrize("measure", ["auprc", "average_precision"])
def test_curve_intervals_are_the_spread_of_resampled_patients_on_the_logit_scale(
    measure: str,
) -> None:
    scores, labels, patients = cohort(120)
    got = evaluate(scores, labels, patients, replicates=60, seed=5)[measure]
    drawn = np.array([one[measure] for one in replicates_of(scores, labels, patients, seed=5)])
    rarer = min(len(set(patients[labels == label])) for label in (0, 1))
    quantile = student.ppf(0.975, rarer - 1)
    spread = quantile * np.std(np.log(drawn / (1 - drawn)), ddof=1)
    centre = np.log(got["value"] / (1 - got["value"]))
    ends = [1 / (1 + np.exp(-(centre + sign * spread))) for sign in (-1, 1)]
    assert (got["low"], got["high"]) == pytest.approx(ends, abs=1e-9)
    assert got["replicates"] == 60


def test_the_intervals_of_means_agree_with_the_bootstrap() -> None:
    scores, labels, patients = cohort(600)
    got = evaluate(scores, labels, patients, replicates=0)
    drawn = replicates_by_hand(scores, labels, patients, 1000, seed=1)
    means = np.array([(((s - y) ** 2).mean(), y.mean()) for s, y in drawn])
    for measure, values in zip(("brier", "prevalence"), means.T, strict=True):
        low, high = np.percentile(values, (2.5, 97.5))
        assert got[measure]["low"] == pytest.approx(low, abs=0.005)
        assert got[measure]["high"] == pytest.approx(high, abs=0.005)


def test_nobody_readmitted_leaves_an_interval_of_the_prevalence() -> None:
    got = evaluate([0.5] * 20, [0] * 20, range(20))["prevalence"]
    assert got["low"] == 0 and got["high"] == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)


def test_replicates_without_a_class_are_left_out_and_counted() -> None:
    scores, labels, patients = cohort(12, seed=3)
    got = evaluate(scores, labels, patients, replicates=200, seed=1)
    drawn = list(replicates_by_hand(scores, labels, patients, 200, seed=1))
    assert got["auprc"]["replicates"] == sum(y.any() for _, y in drawn) < 200


def test_rp80_has_no_interval_because_none_holds() -> None:
    got = evaluate(*cohort(), replicates=10)["rp80"]
    assert (got["low"], got["high"]) == (None, None) and "no interval" in got["no_interval"]


@pytest.mark.parametrize("readmitted", [1, 2])
def test_fewer_than_three_patients_with_an_outcome_are_too_few_to_say(readmitted: int) -> None:
    labels = [1] * readmitted + [0] * 20
    got = evaluate(np.linspace(0.9, 0.1, len(labels)), labels, range(len(labels)), replicates=50)
    for m in ("auroc", "auprc", "average_precision", "brier"):
        assert (got[m]["low"], got[m]["high"]) == (None, None)
        assert is_too_few(got[m])
    assert got["prevalence"]["low"] is not None


def test_balanced_measures_are_those_of_copied_rows() -> None:
    """Each positive once for every negative, and the other way round: the same weights."""
    scores, labels, patients = cohort(40)
    positives, negatives = int(labels.sum()), int((labels == 0).sum())
    rows = np.repeat(np.arange(40), np.where(labels == 1, negatives, positives))
    expected = oracle(scores[rows].tolist(), labels[rows].tolist())
    got = evaluate(scores, labels, patients, replicates=50, balanced=True)
    for m in MEASURES:
        assert got[m]["value"] == pytest.approx(expected[m], abs=1e-9), m
    assert got["rp80"]["threshold"] == plain_rp80(scores[rows].tolist(), labels[rows].tolist())[1]
    assert (got["n"], got["positives"]) == (40, positives)


def test_balanced_auprc_is_near_the_mean_of_many_balanced_samples() -> None:
    scores, labels, _ = cohort(300, seed=2, ties=False)
    rng = np.random.default_rng(0)
    positives, negatives = (np.flatnonzero(labels == label) for label in (1, 0))
    samples = []
    for _ in range(100):
        drawn = rng.choice(negatives, len(positives), replace=False)
        at = np.concatenate([positives, drawn])
        samples.append(oracle(scores[at].tolist(), labels[at].tolist()))
    got = evaluate(scores, labels, range(300), replicates=0, balanced=True)
    for m in ("auroc", "auprc", "average_precision", "brier"):
        mean = float(np.mean([sample[m] for sample in samples]))
        assert got[m]["value"] == pytest.approx(mean, abs=0.01), m


def test_a_balanced_sample_has_no_calibration() -> None:
    assert not set(CALIBRATION) & set(evaluate(*cohort(), replicates=0, balanced=True))
    assert set(CALIBRATION) <= set(evaluate(*cohort(), replicates=0))


def test_a_single_patient_has_no_interval() -> None:
    got = evaluate([0.9, 0.1], [1, 0], [7, 7])["auroc"]
    assert (got["value"], got["low"], got["high"]) == (1.0, None, None)


def test_admissions_of_one_patient_widen_the_interval() -> None:
    scores, labels, _ = cohort(300)
    once = evaluate(scores, labels, np.arange(300), replicates=300)
    # Ten copies of the admissions add no information if they belong to the same patients.
    tenfold = [np.tile(column, 10) for column in (scores, labels, np.arange(300))]
    again = evaluate(*tenfold, replicates=300)
    alone = evaluate(*tenfold[:2], np.arange(3000), replicates=300)
    for m in (*MEASURES, *CALIBRATION):
        if m == "rp80":
            continue
        ends = again[m]["low"], again[m]["high"]
        assert ends == pytest.approx((once[m]["low"], once[m]["high"]), abs=0.002), m
        assert alone[m]["high"] - alone[m]["low"] < (once[m]["high"] - once[m]["low"]) / 2, m


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
