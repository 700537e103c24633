"""How chunks of unequal length become batches. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def token_batches(lengths: Sequence[int] | NDArray[np.int_], budget: int) -> list[NDArray[np.int_]]:
    """Group chunks of like length, so that a padded batch holds at most ``budget`` tokens.

    lengths: [n] tokens a chunk; budget: tokens, padding included (rows * longest <= budget; a chunk
    longer than the budget is a batch of its own). Returns index arrays, longest chunks first; every
    index of the input is in exactly one of them.

    >>> [batch.tolist() for batch in token_batches([5, 9, 4, 2], budget=10)]
    [[1], [0, 2], [3]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    # Longest first: a budget that does not fit in memory fails at once, not at the last batch.
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def pad(
    chunks: Sequence[NDArray[np.int32]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stack chunks into ``(ids, mask)``, both [rows, longest]; mask is 1 on tokens, 0 on padding."""
    width = max(len(chunk) for chunk in chunks)
    ids = np.full((len(chunks), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(chunks), width), dtype=np.int64)
    for row, chunk in enumerate(chunks):
        ids[row, : len(chunk)] = chunk
        mask[row, : len(chunk)] = 1
    return ids, mask
