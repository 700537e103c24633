"""The gate on literal gains, and simulated: how often harm passes, and how often a gain does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from readmit_spark.evaluation.gate import Gate, Verdict, error_of_try, judge
from readmit_spark.evaluation.paired import Comparison, Gain, auroc_gain

GATE = Gate(min_gain=0.0, margin=0.02, group_margin=0.05, min_group=5)
BETTER = Gain(0.7, 0.8, 0.1, 0.05, 0.15)
WORSE = Gain(0.7, 0.6, -0.1, -0.15, -0.05)
PERHAPS = Gain(0.7, 0.69, -0.01, -0.05, 0.03)
AS_GOOD = Gain(0.7, 0.7, 0.0, -0.01, 0.01)
UNKNOWN = Gain(0.7, 0.8, 0.1, None, None)


@pytest.mark.parametrize(
    ("gains", "group", "worse", "cannot_tell"),
    [
        ({"auroc": BETTER}, None, 0, 0),
        ({"auroc": PERHAPS}, None, 0, 1),
        ({"auroc": AS_GOOD}, None, 0, 1),
        ({"auroc": WORSE}, None, 1, 0),
        ({"auroc": UNKNOWN}, None, 0, 1),
        ({"auroc": BETTER, "scaled_brier": PERHAPS}, None, 0, 1),  # perhaps worse: not shown
        ({"auroc": BETTER, "scaled_brier": AS_GOOD}, None, 0, 0),
        ({"auroc": BETTER, "scaled_brier": WORSE, "average_precision": WORSE}, None, 2, 0),
        ({"auroc": BETTER}, Comparison(10, 5, {"auroc": WORSE}), 1, 0),
        ({"auroc": BETTER}, Comparison(10, 5, {"auroc": Gain(0.7, 0.7, 0, -0.1, 0.1)}), 0, 1),
        ({"auroc": BETTER}, Comparison(10, 5, {"auroc": PERHAPS}), 0, 1),
        ({"auroc": BETTER}, Comparison(10, 5, {"auroc": AS_GOOD}), 0, 0),
        ({"auroc": BETTER}, Comparison(10, 4, {"auroc": WORSE}), 0, 0),  # too small a group
        ({"auroc": BETTER}, Comparison(10, 6, {"auroc": WORSE}), 0, 0),
        ({}, None, 0, 1),
    ],
)
def test_the_gate(
    gains: dict[str, Gain], group: Comparison | None, worse: int, cannot_tell: int
) -> None:
    groups = {"women": group} if group else {}
    verdict = judge(Comparison(100, 50, gains), groups, GATE)
    assert (len(verdict.worse), len(verdict.cannot_tell)) == (worse, cannot_tell)
    assert verdict.passes(signed_off=False) == (worse == cannot_tell == 0)
    assert verdict.passes(signed_off=True) == (worse == 0)


def test_lines_say_what_was_asked_for_and_what_was_seen() -> None:
    gains = {"auroc": AS_GOOD, "scaled_brier": WORSE}
    verdict = judge(Comparison(100, 50, gains), {}, GATE)
    assert verdict.worse == [
        "scaled brier 0.700 to 0.600, gain -0.100 (-0.150 to -0.050) is worse by 0.02 or more"
    ]
    assert verdict.cannot_tell == [
        "AUROC 0.700 to 0.700, gain +0.000 (-0.010 to +0.010) is not shown to be better by more "
        "than 0"
    ]


def test_a_negative_least_gain_accepts_an_equally_good_model() -> None:
    gate = Gate(min_gain=-0.02, margin=0.02, group_margin=0.05, min_group=5)
    assert judge(Comparison(100, 50, {"auroc": AS_GOOD}), {}, gate) == Verdict([], [])


def test_all_tries_together_are_wrong_in_5_of_100() -> None:
    assert sum(error_of_try(number) for number in range(1, 10_000)) == pytest.approx(0.05, abs=1e-5)
    assert error_of_try(1) == 0.025


def scores_of(rng: Any, signal: Any, labels: Any, auroc: float) -> Any:
    """Add noise to the shared signal of a patient, so that the models are alike."""
    x = 0.8 * signal + 0.6 * rng.normal(size=len(labels))
    return norm.cdf(x + norm.ppf(auroc) * np.sqrt(2) * labels)


def subgroup(rng: Any, readmitted: int, after: float) -> Gain:
    labels = np.repeat([1, 0], [readmitted, 100])
    signal = rng.normal(size=len(labels))
    old, new = (scores_of(rng, signal, labels, auroc) for auroc in (0.75, after))
    return auroc_gain(old, new, labels, np.arange(len(labels)), error=error_of_try(1))


@pytest.mark.parametrize("readmitted", [20, 50])
def test_a_loss_of_a_tenth_in_a_subgroup_does_not_pass(readmitted: int) -> None:
    """200 simulated hospitals in which the challenger loses 0.10 AUROC in a subgroup."""
    rng = np.random.default_rng(readmitted)
    overall = Comparison(1000, 300, {"auroc": BETTER})
    passed = 0
    for _ in range(200):
        group = Comparison(100 + readmitted, readmitted, {"auroc": subgroup(rng, readmitted, 0.65)})
        passed += judge(overall, {"women": group}, GATE).passes(signed_off=False)
    assert passed <= 6  # of 200


def test_an_equally_good_challenger_seldom_passes_in_ten_tries() -> None:
    """Repeated tries on one test set: at most 5 of 100 series may find a winner by chance."""
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [60, 240])
    winners = 0
    for _ in range(100):
        signal = rng.normal(size=300)
        champion = scores_of(rng, signal, labels, 0.75)
        winners += any(
            judge(Comparison(300, 60, {"auroc": auroc_gain(
                champion, scores_of(rng, signal, labels, 0.75), labels, np.arange(300),
                error=error_of_try(number),
            )}), {}, GATE).passes(signed_off=False)
            for number in range(1, 11)
        )  # fmt: skip
    assert winners <= 7
