"""A cohort of random scores, and its bootstrap by copying rows."""

from __future__ import annotations

from typing import Any

import numpy as np


def cohort(n: int = 400, seed: int = 0, ties: bool = True) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * labels)))
    return np.round(scores, 2) if ties else scores, labels, rng.integers(n // 2, size=n)


def replicates_by_hand(scores: Any, labels: Any, patients: Any, count: int, seed: int) -> Any:
    """Yield the rows of each replicate; a patient drawn twice has every row twice."""
    rng = np.random.default_rng(seed)
    ids = sorted(set(patients.tolist()))
    for _ in range(count):
        drawn = [ids[k] for k in rng.integers(len(ids), size=len(ids))]
        at = np.concatenate([np.flatnonzero(patients == one) for one in drawn])
        yield scores[at], labels[at]
