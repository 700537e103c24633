"""What a reader of the demo hospital can attain, computed from the true risks alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Column of TRUTH -> what its reader knows.
READERS = {
    "RISK": "everything",
    "RISK_3DAYS": "the notes of three days",
    "RISK_2DAYS": "the notes of two days",
    "RISK_1DAYS": "the notes of the first day",
    "RISK_WORDS": "counts of words, pairs and triples",
    "RISK_AGE": "the age alone",
}


def attainable(truth: pd.DataFrame) -> dict[str, float]:
    """Return the expected AUROC of each reader, by what it knows. truth: the table TRUTH."""
    risks = truth["RISK"].to_numpy()
    return {name: expected_auroc(risks, truth[column].to_numpy())
            for column, name in READERS.items()}  # fmt: skip


def expected_auroc(risks: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Return the AUROC of scores over all outcomes that the true risks allow.

    This is the share of pairs in order, ties counted half, where admission i is the readmitted one
    of a pair with weight risks[i] and the other one with 1 - risks[i]. risks, scores: [n].

    >>> float(expected_auroc(np.array([1.0, 0.0]), np.array([0.9, 0.1])))
    1.0
    """
    _, group = np.unique(scores, return_inverse=True)
    back = np.bincount(group, risks)
    home = np.bincount(group, 1 - risks)
    lower = np.cumsum(home) - home
    return float(back @ (lower + home / 2) / (back.sum() * home.sum()))
