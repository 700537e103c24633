"""Combine the probabilities of an admission's chunks into one patient score (the vote)."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

PUBLISHED_C = 2.0  # c of the paper, chosen on its validation set


def vote_score(probabilities: Sequence[float], c: float = PUBLISHED_C) -> float:
    """Compute the patient score of an admission from its ``n`` chunk probabilities.

    ``P = (P_max + P_mean * n / c) / (1 + n / c)``: Huang, Altosaar and Ranganath, "ClinicalBERT:
    Modeling Clinical Notes and Predicting Hospital Readmission", arXiv 1904.05342.
    A single chunk with a high probability raises the score through the maximum. The weight of the
    mean grows with ``n``, since the maximum of many chunks is noisy. At ``n = c`` mean and maximum
    have the same weight.

    The score lies between mean and maximum and does not depend on the order of the chunks. The
    score of a single chunk is its probability, up to rounding.

    Raises ValueError if there are no chunks (such an admission has no score, not a score of 0), if
    a probability is not a number from 0 to 1, and if ``c`` is not above 0.

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
    # fsum does not depend on the order, so any partitioning of the chunks gives the same bits.
    return float((max(probabilities) + fsum(probabilities) / c) / (1 + n / c))


def contributions(probabilities: Sequence[float], c: float = PUBLISHED_C) -> list[float]:
    """Return each chunk's contribution to `vote_score`; the contributions sum to the score.

    The score is (max + sum / c) / (1 + n / c). So a chunk of probability p contributes p / c, and
    the chunk with the maximum (the first one of equals) additionally the maximum, both divided by
    1 + n / c. Errors: as `vote_score`.

    >>> contributions([0.25, 0.75])
    [0.0625, 0.5625]
    """
    vote_score(probabilities, c)  # raises the errors
    divisor = 1 + len(probabilities) / c
    parts = [p / c / divisor for p in probabilities]
    top = max(range(len(parts)), key=lambda i: probabilities[i])
    parts[top] += probabilities[top] / divisor
    return parts
