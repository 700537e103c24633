"""How often the 95 % intervals hold the truth, simulated with few readmitted patients.

The scores are those of a binormal model and too extreme, as those of a model trained on a balanced
sample. The truth is measured on 100,000 admissions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from readmit_spark.evaluation.metrics import evaluate

OTHERS = 200
# rp80 never has an interval. The prevalence is fixed here by the number of positives.
SHOWN = ("auroc", "auprc", "average_precision", "brier", "observed_over_expected",
         "calibration_intercept", "calibration_slope")  # fmt: skip


def draw(rng: Any, positives: int, others: int, auroc: float) -> tuple[Any, Any]:
    distance = norm.ppf(auroc) * np.sqrt(2)
    labels = np.repeat([1, 0], [positives, others])
    x = rng.normal(size=len(labels)) + distance * labels
    return 1 / (1 + np.exp(-1.2 * distance * (x - distance / 2))), labels


def covered(positives: int, auroc: float, runs: int) -> dict[str, float]:
    """Return by measure the share of the shown intervals that hold the truth."""
    many = 100_000 // (positives + OTHERS)
    scores, labels = draw(np.random.default_rng(0), many * positives, many * OTHERS, auroc)
    population = evaluate(scores, labels, np.arange(len(labels)), replicates=0)
    rng = np.random.default_rng(positives)
    hits: dict[str, list[bool]] = {m: [] for m in SHOWN}
    for _ in range(runs):
        # Each patient has two admissions, which are alike: they say no more than one.
        scores, labels = draw(rng, positives, OTHERS, auroc)
        patients = np.tile(np.arange(len(labels)), 2)
        got = evaluate(np.tile(scores, 2), np.tile(labels, 2), patients, replicates=60)
        for m in SHOWN:
            if got[m].get("low") is not None:
                hits[m].append(got[m]["low"] <= population[m]["value"] <= got[m]["high"])
    assert all(hits.values())
    return {m: float(np.mean(h)) for m, h in hits.items()}


@pytest.mark.parametrize("positives", [3, 5, 11, 20, 50])
def test_the_intervals_hold_the_truth(positives: int) -> None:
    """40 runs: a true coverage of 95 % gives less than 32 in one of 10,000 tries."""
    shares = covered(positives, auroc=0.75, runs=40)
    assert min(shares.values()) >= 0.8, shares


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.65, 0.75, 0.9])
@pytest.mark.parametrize("positives", [3, 5, 11, 20, 50])
def test_at_least_93_of_100_intervals_hold_the_truth(positives: int, auroc: float) -> None:
    shares = covered(positives, auroc, runs=600)
    assert min(shares.values()) >= 0.93, shares
