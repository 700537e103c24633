"""Patient scores from chunk probabilities, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from readmit_spark.training.validation_scores import ChunkScores, PatientScores

# Admission 7 (patient 1) has chunks 0.2 and 0.8; 5 (patient 2) has 0.6; 9 (patient 3) has 0.1.
CHUNKS = ChunkScores(
    subject_ids=np.array([1, 2, 1, 3]),
    hadm_ids=np.array([7, 5, 7, 9]),
    labels=np.array([1, 0, 1, 0]),
    probabilities=np.array([0.2, 0.6, 0.8, 0.1]),
)


def test_the_vote_has_one_score_per_admission_by_hadm_id() -> None:
    patients = CHUNKS.vote(2.0)
    assert patients.hadm_ids.tolist() == [5, 7, 9]
    assert patients.subject_ids.tolist() == [2, 1, 3]
    assert patients.labels.tolist() == [0, 1, 0]
    # (max + mean * n / c) / (1 + n / c)
    expected = [0.6, (0.8 + 0.5 * 2 / 2) / (1 + 2 / 2), 0.1]
    assert patients.scores.tolist() == pytest.approx(expected, abs=1e-15)


def test_select_keeps_only_the_given_admissions() -> None:
    selected = CHUNKS.vote(2.0).select(np.array([9, 5, 4]))
    assert selected.hadm_ids.tolist() == [5, 9]
    assert selected.subject_ids.tolist() == [2, 3]
    assert selected.labels.tolist() == [0, 0]
    assert selected.scores.tolist() == pytest.approx([0.6, 0.1])


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    # Score of 7: 0.65. It is above 0.6 and 0.1.
    assert CHUNKS.vote(2.0).auroc() == 1.0
    ids = np.array([1, 2, 3])
    patients = PatientScores(ids, ids, np.array([0.5, 0.9, 0.1]), np.array([1, 0, 0]))
    assert patients.auroc() == 0.5


def test_auroc_is_none_if_a_class_is_missing() -> None:
    assert CHUNKS.vote(2.0).select(np.array([5, 9])).auroc() is None


def test_loss_is_the_mean_cross_entropy_of_chunks() -> None:
    terms = [math.log(0.2), math.log(1 - 0.6), math.log(0.8), math.log(1 - 0.1)]
    assert CHUNKS.loss() == pytest.approx(-sum(terms) / 4, abs=1e-15)


def test_loss_of_a_certain_error_is_finite() -> None:
    one = np.array([1])
    assert ChunkScores(one, one, np.array([0]), np.array([1.0])).loss() == pytest.approx(
        -math.log(1e-15), abs=0.1
    )
