from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from readmit_spark.evaluation.cross_fit import cross_fitted_risks
from readmit_spark.evaluation.metrics import bootstrap, evaluate
from readmit_spark.evaluation.paired import Comparison, auroc_gain, compare


def cohort(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, patients (two admissions each) and scores that depend on the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    return labels, np.arange(n) // 2, np.clip(labels * 0.3 + random.normal(0.35, 0.2, n), 0, 1)


def test_replicates_equal_copying_the_rows_of_drawn_patients() -> None:
    """An independent bootstrap: the rows of the drawn patients, measured by scikit-learn."""
    labels, patients, scores = cohort(60)
    _, draws = bootstrap(scores, labels, patients, replicates=20, seed=3)
    random = np.random.default_rng(3)
    for i in range(20):
        drawn = random.integers(30, size=30)
        rows = np.concatenate([np.flatnonzero(patients == p) for p in drawn])
        y, s = labels[rows], scores[rows]
        assert draws["auroc"][i] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert draws["average_precision"][i] == pytest.approx(average_precision_score(y, s))
        assert draws["brier"][i] == pytest.approx(brier_score_loss(y, s), abs=1e-12)


def test_a_gain_is_the_difference_of_two_evaluations() -> None:
    labels, patients, good = cohort(200)
    poor = np.random.default_rng(1).random(200)
    compared = compare(poor, good, labels, patients, replicates=200, seed=5)
    assert (compared.n, compared.positives) == (200, int(labels.sum()))
    for measure in ("auroc", "average_precision"):
        old, new = (
            evaluate(s, labels, patients, replicates=0)[measure]["value"] for s in (poor, good)
        )
        gain = compared.gains[measure]
        assert (gain.champion, gain.challenger) == pytest.approx((old, new), abs=1e-12)
        assert gain.gain == pytest.approx(new - old)
        assert gain.low is not None and gain.high is not None
        assert gain.low < gain.gain < gain.high
    risks = cross_fitted_risks(good, labels, patients, seed=5)
    scaled = 1 - brier_score_loss(labels, risks) / (labels.mean() * (1 - labels.mean()))
    assert compared.gains["scaled_brier"].challenger == pytest.approx(scaled, abs=1e-12)


def test_the_intervals_of_gains_agree_with_the_bootstrap() -> None:
    labels, patients, good = cohort(600)
    other = np.clip(good + np.random.default_rng(2).normal(0, 0.2, 600), 0, 1)
    gain = compare(good, other, labels, patients, replicates=10).gains["auroc"]
    (_, old), (_, new) = (
        bootstrap(s, labels, patients, replicates=1000, seed=1) for s in (good, other)
    )
    low, high = np.percentile(new["auroc"] - old["auroc"], (2.5, 97.5))
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.004)


def test_a_smaller_error_widens_the_interval() -> None:
    labels, patients, good = cohort(200)
    poor = np.random.default_rng(1).random(200)
    wide, narrow = (auroc_gain(poor, good, labels, patients, error=e) for e in (0.001, 0.05))
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low


def test_a_constant_added_to_the_logits_is_no_gain_and_no_loss() -> None:
    labels, patients, scores = cohort(400)
    scores = np.clip(scores, 0.01, 0.99)
    odds = scores / (1 - scores) * 20
    gains = compare(scores, odds / (1 + odds), labels, patients, replicates=20).gains
    assert all(abs(gain.gain) < 1e-6 for gain in gains.values())


def test_pairing_narrows_the_interval() -> None:
    labels, patients, scores = cohort(200)
    nearly = np.clip(scores + np.random.default_rng(2).normal(0, 0.01, 200), 0, 1)
    gain = compare(scores, nearly, labels, patients, replicates=300).gains["auroc"]
    alone = evaluate(scores, labels, patients, replicates=300)["auroc"]
    assert gain.low is not None and gain.high is not None
    assert gain.high - gain.low < 0.3 * (alone["high"] - alone["low"])


def test_a_model_against_itself_gains_nothing() -> None:
    labels, patients, scores = cohort(100)
    compared = compare(scores, scores, labels, patients, replicates=50)
    assert all((g.gain, g.low, g.high) == (0.0, 0.0, 0.0) for g in compared.gains.values())


def test_a_single_outcome_has_no_gains() -> None:
    assert compare([0.1, 0.2], [0.2, 0.1], [0, 0], [1, 2]) == Comparison(2, 0, {})
    assert compare([], [], [], []) == Comparison(0, 0, {})


def test_few_patients_with_an_outcome_have_gains_without_an_interval() -> None:
    gain = compare([0.9, 0.2, 0.3], [0.1, 0.2, 0.3], [1, 0, 0], [1, 2, 3]).gains["auroc"]
    assert (gain.gain, gain.low, gain.high) == (-1.0, None, None)
