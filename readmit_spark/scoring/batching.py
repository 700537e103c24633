"""Group chunks of unequal length into batches. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Index = NDArray[np.int64]


def token_batches(lengths: Sequence[int] | Index, budget: int) -> list[Index]:
    """Group chunks of similar length into padded batches of at most `budget` tokens.

    lengths: [n] tokens of each chunk. A batch has rows * longest <= budget; a chunk longer than the
    budget is a batch of its own. Returns index arrays, longest chunks first; every index is in
    exactly one of them.

    >>> [batch.tolist() for batch in token_batches([5, 9, 4, 2], budget=10)]
    [[1], [0, 2], [3]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    # Longest first: a budget too large for the memory fails at the first batch, not at the last.
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


def token_packs(lengths: Sequence[int] | Index, budget: int, max_rows: int) -> list[Index]:
    """Group chunks into packs of at most `budget` tokens and `max_rows` chunks, without padding.

    lengths: [n] tokens of each chunk. Each pack takes the longest remaining chunks that fit, then
    fills its gap with the shortest. A chunk longer than the budget is a pack of its own. Returns
    index arrays; every index is in exactly one of them.

    >>> [pack.tolist() for pack in token_packs([5, 9, 4, 2], budget=12, max_rows=3)]
    [[1, 3], [0, 2]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    packs, first, last = [], 0, len(order)
    while first < last:
        pack = [order[first]]
        room = budget - int(lengths[order[first]])
        first += 1
        while first < last and len(pack) < max_rows and lengths[order[first]] <= room:
            pack.append(order[first])
            room -= int(lengths[order[first]])
            first += 1
        while first < last and len(pack) < max_rows and lengths[order[last - 1]] <= room:
            last -= 1
            pack.append(order[last])
            room -= int(lengths[order[last]])
        packs.append(np.array(pack, dtype=np.int64))
    return packs


def pad(
    chunks: Sequence[Ids], pad_id: int, multiple: int = 1, limit: int | None = None
) -> tuple[Index, Index]:
    """Pad chunks to one width and return `(ids, mask)`, both int64 [rows, width].

    mask is 1 on tokens and 0 on padding. The width is the longest chunk rounded up to a `multiple`,
    but at most `limit` unless the longest chunk is longer.
    """
    longest = max(len(chunk) for chunk in chunks)
    width = -(-longest // multiple) * multiple
    if limit is not None:
        width = max(longest, min(width, limit))
    ids = np.full((len(chunks), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(chunks), width), dtype=np.int64)
    for row, chunk in enumerate(chunks):
        ids[row, : len(chunk)] = chunk
        mask[row, : len(chunk)] = 1
    return ids, mask


def pack(chunks: Sequence[Ids]) -> tuple[Ids, Ids, Ids]:
    """Concatenate chunks and return `(ids [T], positions [T], bounds [rows + 1])`, all int32.

    Chunk i is ids[bounds[i]:bounds[i + 1]]; positions count from 0 in each chunk.

    >>> [part.tolist() for part in pack([np.array([7, 8, 9]), np.array([7, 9])])]
    [[7, 8, 9, 7, 9], [0, 1, 2, 0, 1], [0, 3, 5]]
    """
    lengths = [len(chunk) for chunk in chunks]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = np.concatenate(chunks).astype(np.int32)
    positions = np.arange(len(ids), dtype=np.int32) - np.repeat(bounds[:-1], lengths)
    return ids, positions, bounds
