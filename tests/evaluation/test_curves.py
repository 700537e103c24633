"""Curves and bands against scikit-learn, with ties and missing classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from readmit_spark.evaluation.curves import bands, curves, why_no_curve
from tests.evaluation.random_cohort import cohort, replicates_by_hand


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
