"""Which negatives to keep where classes are to be balanced: the same ones on every run.

Negatives are taken in the order of ``md5("{seed}:{hadm_id}")``. The order belongs to the
admission and not to its place in the input, so the choice survives any shuffle, partitioning or
growth of the data.
"""

from __future__ import annotations

from hashlib import md5

import numpy as np
from numpy.typing import ArrayLike, NDArray


def balance(hadm_ids: ArrayLike, labels: ArrayLike, seed: int) -> NDArray[np.bool_]:
    """Mask [n] that keeps every positive and as many negatives as there are positives.

    All negatives are kept where they are not more than the positives; none where there is no
    positive. ``labels`` are 0 or 1.

    >>> balance([1, 2, 3, 4], [1, 0, 0, 0], seed=0)
    array([ True, False,  True, False])
    """
    ids, positive = _checked(hadm_ids, labels)
    keep = positive.copy()
    keep[_hash_order(ids, ~positive, seed)[: positive.sum()]] = True
    return keep


def training_sample(
    hadm_ids: ArrayLike, labels: ArrayLike, n_chunks: ArrayLike, seed: int
) -> NDArray[np.bool_]:
    """Mask [n] of a training set that is balanced by admissions and then by chunks.

    Starts from ``balance``; then adds further negatives, in the same order, until the negatives'
    chunks are at least as many as the positives' (or no negative is left). A readmitted patient's
    stay has longer notes, so equal admissions alone would leave the chunks, which are what the
    model is trained on, in favour of the positives. ``n_chunks`` counts each admission's chunks.
    """
    ids, positive = _checked(hadm_ids, labels)
    chunks = np.asarray(n_chunks)
    if chunks.shape != ids.shape:
        raise ValueError(f"{len(ids)} admissions, but chunk counts of shape {chunks.shape}")
    negatives = _hash_order(ids, ~positive, seed)
    gathered = np.concatenate([[0], np.cumsum(chunks[negatives])])  # chunks of the first k
    enough = int(np.searchsorted(gathered, chunks[positive].sum()))  # least k with >= as many
    keep = positive.copy()
    keep[negatives[: max(enough, int(positive.sum()))]] = True
    return keep


def _checked(hadm_ids: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    ids, y = np.asarray(hadm_ids, dtype=np.int64), np.asarray(labels)
    if ids.shape != y.shape or ids.ndim != 1:
        raise ValueError(f"ids of shape {ids.shape} and labels of shape {y.shape} do not match")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; leave admissions of unknown label out")
    return ids, y.astype(bool)


def _hash_order(ids: NDArray[np.int64], among: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Positions where ``among`` holds, in the order of the admission's hash."""
    where = np.flatnonzero(among)
    digests = [md5(f"{seed}:{i}".encode(), usedforsecurity=False).hexdigest() for i in ids[where]]
    return where[np.argsort(np.array(digests, dtype="U32"), kind="stable")]
