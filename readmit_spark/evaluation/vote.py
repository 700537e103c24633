"""From the probabilities of an admission's chunks to one score of the admission."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

PUBLISHED_C = 2.0  # the paper's, chosen on its validation set


def vote_score(probabilities: Sequence[float], c: float = PUBLISHED_C) -> float:
    """Score an admission from its ``n`` chunk probabilities.

    ``P = (P_max + P_mean * n / c) / (1 + n / c)``: Huang, Altosaar and Ranganath, "ClinicalBERT:
    Modeling Clinical Notes and Predicting Hospital Readmission", arXiv 1904.05342.
    The maximum lets one telling chunk speak; the mean, which weighs more the more chunks there
    are, keeps the noise of a long document from deciding. ``c`` is the number of chunks at which
    both weigh the same.

    The result lies between mean and maximum and does not depend on the order of the chunks.
    A single chunk's probability is returned as it is, up to rounding.

    Raises ValueError for no chunks (such an admission is unscored, it has no score of 0), for a
    probability outside 0 to 1 or not a number, and for ``c`` that is not above 0.

    >>> vote_score([0.2, 0.8])
    0.65
    """
    if len(probabilities) == 0:
        raise ValueError("no chunk probabilities: an admission without chunks has no score")
    if not c > 0:
        raise ValueError(f"c is {c}; it must be above 0")
    if not all(0.0 <= p <= 1.0 for p in probabilities):
        raise ValueError("a chunk probability is not a number from 0 to 1")
    n = len(probabilities)
    # fsum is exact whatever the order, so the same chunks give the same bits from any partition.
    return float((max(probabilities) + fsum(probabilities) / c) / (1 + n / c))


def contributions(probabilities: Sequence[float], c: float = PUBLISHED_C) -> list[float]:
    """What each chunk adds to `vote_score`; they sum to it.

    The score is (max + sum / c) / (1 + n / c), so each chunk adds its p / c and the chunk with the
    maximum (the first of equals) the maximum as well, all over 1 + n / c. Errors as `vote_score`.

    >>> contributions([0.25, 0.75])
    [0.0625, 0.5625]
    """
    vote_score(probabilities, c)  # for its errors
    whole = 1 + len(probabilities) / c
    parts = [p / c / whole for p in probabilities]
    top = max(range(len(parts)), key=lambda i: probabilities[i])
    parts[top] += probabilities[top] / whole
    return parts
