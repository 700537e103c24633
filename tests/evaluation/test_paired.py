from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from readmit_spark.evaluation.metrics import bootstrap, evaluate
from readmit_spark.evaluation.paired import Comparison, Gain, Gate, compare, objections

GATE = Gate(min_gain=0.0, max_loss=0.0, min_group=5)


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
        assert draws["mean_score"][i] == pytest.approx(s.mean(), abs=1e-12)


def test_a_gain_is_the_difference_of_two_evaluations() -> None:
    labels, patients, good = cohort(200)
    poor = np.random.default_rng(1).random(200)
    compared = compare(poor, good, labels, patients, replicates=200, seed=5)
    assert (compared.n, compared.positives) == (200, int(labels.sum()))
    for measure in ("auroc", "auprc", "rp80", "brier"):
        old, new = (
            evaluate(s, labels, patients, replicates=0)[measure]["value"] for s in (poor, good)
        )
        gain = compared.gains[measure]
        assert (gain.champion, gain.challenger) == (old, new)
        assert gain.gain == pytest.approx(old - new if measure == "brier" else new - old)
        assert gain.low is not None and gain.high is not None
        assert gain.low <= gain.gain <= gain.high
    gap = compared.gains["calibration_gap"]
    assert gap.challenger == pytest.approx(abs(good.mean() - labels.mean()))


def test_pairing_narrows_the_interval() -> None:
    labels, patients, scores = cohort(200)
    nearly = np.clip(scores + np.random.default_rng(2).normal(0, 0.01, 200), 0, 1)
    gain = compare(scores, nearly, labels, patients, replicates=300).gains["auroc"]
    alone = evaluate(scores, labels, patients, replicates=300)["auroc"]
    assert gain.low is not None and gain.high is not None
    assert gain.high - gain.low < 0.3 * (alone["high"] - alone["low"])


def test_a_model_against_itself_gains_nothing_and_is_not_promoted() -> None:
    labels, patients, scores = cohort(100)
    compared = compare(scores, scores, labels, patients, replicates=50)
    assert all((g.gain, g.low, g.high) == (0.0, 0.0, 0.0) for g in compared.gains.values())
    auroc = compared.gains["auroc"].champion
    assert objections(compared, {}, GATE) == [
        f"AUROC {auroc:.3f} to {auroc:.3f}, "
        "gain +0.000 (+0.000 to +0.000) is not shown to be better by more than 0"
    ]
    # A negative min_gain accepts an equally good model.
    assert objections(compared, {}, Gate(-0.01, 0.0, 5)) == []


def test_a_model_that_is_better_is_promoted() -> None:
    labels, patients, good = cohort(400)
    poor = np.random.default_rng(1).random(400)
    better = compare(poor, good, labels, patients, replicates=200)
    assert objections(better, {"women": better}, GATE) == []
    worse = compare(good, poor, labels, patients, replicates=200)
    reasons = objections(worse, {"women": worse}, GATE)
    for measure, line in zip(("AUROC", "auprc", "rp80", "brier"), reasons, strict=False):
        assert line.startswith(measure)
    assert reasons[-1].startswith("AUROC of women ") and reasons[-1].endswith("is worse")


BETTER = Gain(0.7, 0.8, 0.1, 0.05, 0.15)
WORSE = Gain(0.7, 0.6, -0.1, -0.15, -0.05)
PERHAPS = Gain(0.7, 0.69, -0.01, -0.05, 0.03)


@pytest.mark.parametrize(
    ("gains", "group", "gate", "expected"),
    [
        ({"auroc": BETTER}, None, GATE, 0),
        ({"auroc": PERHAPS}, None, GATE, 1),
        ({"auroc": BETTER, "auprc": PERHAPS}, None, GATE, 0),  # worse, but perhaps by chance
        ({"auroc": BETTER, "auprc": WORSE, "brier": WORSE}, None, GATE, 2),
        ({"auroc": BETTER, "auprc": WORSE}, None, Gate(0.0, 0.05, 5), 0),
        ({"auroc": BETTER}, Comparison(10, 5, {"auroc": WORSE}), GATE, 1),
        ({"auroc": BETTER}, Comparison(10, 4, {"auroc": WORSE}), GATE, 0),  # too small a group
        ({"auroc": BETTER}, Comparison(10, 6, {"auroc": WORSE}), GATE, 0),
        ({"auroc": BETTER}, None, Gate(0.06, 0.0, 5), 1),
        ({}, None, GATE, 1),
    ],
)
def test_the_gate(
    gains: dict[str, Gain], group: Comparison | None, gate: Gate, expected: int
) -> None:
    groups = {"women": group} if group else {}
    assert len(objections(Comparison(100, 50, gains), groups, gate)) == expected


def test_a_single_outcome_is_not_enough_to_promote() -> None:
    compared = compare([0.1, 0.2], [0.2, 0.1], [0, 0], [1, 2], replicates=10)
    assert set(compared.gains) == {"brier", "calibration_gap"}
    assert objections(compared, {}, GATE) == [
        "the AUROC of these admissions is undefined: both outcomes are needed"
    ]
    assert compare([], [], [], []) == Comparison(0, 0, {})
