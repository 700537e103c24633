"""The ceilings of the demo hospital, against scikit-learn on drawn outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.demo import make_hospital
from readmit_spark.demo.ceilings import attainable, expected_auroc


def test_the_expected_auroc_is_the_mean_over_drawn_outcomes() -> None:
    rng = np.random.default_rng(1)
    risks = rng.beta(1, 3, 4000)
    scores = np.round(risks + rng.normal(0, 0.2, 4000), 1)  # with ties
    drawn = [roc_auc_score(rng.random(4000) < risks, scores) for _ in range(100)]
    assert expected_auroc(risks, scores) == pytest.approx(np.mean(drawn), abs=0.002)


def test_literal_pairs() -> None:
    risks = np.array([1.0, 0.0, 0.0])
    assert expected_auroc(risks, np.array([2.0, 1.0, 3.0])) == 0.5
    assert expected_auroc(risks, np.array([2.0, 2.0, 1.0])) == 0.75


def test_readers_who_know_more_attain_more() -> None:
    ceilings = attainable(make_hospital(patients=1200, seed=2024).truth)
    known = [ceilings[name] for name in ("everything", "the notes of three days",
             "the notes of two days", "the notes of the first day",
             "counts of words, pairs and triples")]  # fmt: skip
    assert known == sorted(known, reverse=True)
    assert 0.92 < known[0] < 0.96 and 0.75 < known[3] < 0.85 and known[4] < 0.56
    assert ceilings["the age alone"] < 0.56
