from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.thresholds import Threshold, operating_points, pick

# Few distinct scores, so that ties are common.
cohorts = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=1, max_size=25)
targets = st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.8, 1.0])


def threshold(scores: list[float], labels: list[int], target: float) -> Threshold | None:
    return pick(operating_points(scores, labels), target)


def brute_force(scores: list[float], labels: list[int], target: float) -> Threshold | None:
    """Try every score as a threshold and count."""
    best: Threshold | None = None
    for threshold in sorted(set(scores), reverse=True):
        alerts = [y for s, y in zip(scores, labels, strict=True) if s >= threshold]
        precision, recall = sum(alerts) / len(alerts), sum(alerts) / max(1, sum(labels))
        if precision >= target and sum(alerts) and (best is None or recall > best.recall):
            n = len(scores)
            best = Threshold(threshold, precision, recall, len(alerts) / n, n)
    return best


@given(cohorts, targets)
def test_equals_trying_every_threshold(cohort: list[tuple[int, int]], target: float) -> None:
    scores, labels = [s / 7 for s, _ in cohort], [y for _, y in cohort]
    expected = brute_force(scores, labels, target)
    picked = threshold(scores, labels, target)
    if len(set(labels)) < 2 or expected is None:
        assert picked is None
    else:
        assert picked is not None
        assert picked.threshold == expected.threshold
        assert picked.n == expected.n
        for name in ("precision", "recall", "share_alerted"):
            assert getattr(picked, name) == pytest.approx(getattr(expected, name), abs=1e-12)


@given(cohorts)
def test_agrees_with_rp80(cohort: list[tuple[int, int]]) -> None:
    scores, labels = [s / 7 for s, _ in cohort], [y for _, y in cohort]
    assume(0 in labels)  # without negatives RP80 is defined, but there are no operating points
    rp80 = evaluate(scores, labels, range(len(labels)), replicates=0)["rp80"]
    picked = threshold(scores, labels, 0.8)
    assert (picked.threshold if picked else None) == rp80.get("threshold")
    assert (picked.recall if picked else 0) == pytest.approx(rp80["value"] or 0, abs=1e-12)


@given(cohorts)
def test_no_operating_point_is_beaten_by_another(cohort: list[tuple[int, int]]) -> None:
    points = operating_points([s for s, _ in cohort], [y for _, y in cohort])
    assert len(points) <= sum(y for _, y in cohort)
    for a, b in pairwise(points):
        assert a.recall > b.recall and a.precision < b.precision and a.threshold < b.threshold


def test_equal_scores_are_alerted_together() -> None:
    # Four alerts at 0.5, two of them correct; no threshold separates them.
    scores, labels = [0.5, 0.5, 0.5, 0.5, 0.1], [1, 1, 0, 0, 0]
    assert threshold(scores, labels, 0.6) is None
    assert threshold(scores, labels, 0.5) == Threshold(0.5, 0.5, 1.0, 0.8, 5)


def test_no_threshold_reaches_the_precision() -> None:
    assert threshold([0.9, 0.1], [0, 1], 0.8) is None
    assert threshold([0.9, 0.1], [0, 0], 0.8) is None
    assert threshold([], [], 0.8) is None


@pytest.mark.parametrize("target", [0.0, -0.1, 1.1, float("nan")])
def test_an_impossible_target_precision_is_an_error(target: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        pick([], target)


def test_the_order_of_the_admissions_does_not_matter() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    scores = np.round(labels * 0.2 + random.random(200), 2)
    order = random.permutation(200)
    assert operating_points(scores, labels) == operating_points(scores[order], labels[order])
