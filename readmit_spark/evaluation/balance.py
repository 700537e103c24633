"""Choose the negatives of a balanced sample, reproducibly.

Negatives are taken in the order of ``md5("{seed}:{hadm_id}")``. The hash depends only on the
admission and the seed, so shuffled, repartitioned or additional rows do not change the choice.
"""

from __future__ import annotations

from hashlib import md5

import numpy as np
from numpy.typing import ArrayLike, NDArray


def balance(hadm_ids: ArrayLike, labels: ArrayLike, seed: int) -> NDArray[np.bool_]:
    """Return the mask [n] of a sample with all positives and equally many negatives.

    If there are fewer negatives than positives, all negatives are in the sample.
    hadm_ids: [n]. labels: [n] of 0 and 1.

    >>> balance([1, 2, 3, 4], [1, 0, 0, 0], seed=0)
    array([ True, False,  True, False])
    """
    ids, positive = _checked(hadm_ids, labels)
    sampled = positive.copy()
    sampled[_hash_order(ids, ~positive, seed)[: positive.sum()]] = True
    return sampled


def training_sample(
    hadm_ids: ArrayLike, labels: ArrayLike, n_chunks: ArrayLike, seed: int
) -> NDArray[np.bool_]:
    """Return the mask [n] of a training set that is balanced by admissions and by chunks.

    Starts with ``balance``. Then adds negatives, in the same order, until the negatives have at
    least as many chunks as the positives, or until no negative is left. The model is trained on
    chunks, and the notes of readmitted patients are longer: with equally many admissions, most
    chunks would be positive. n_chunks: [n], the number of chunks of each admission.
    """
    ids, positive = _checked(hadm_ids, labels)
    chunks = np.asarray(n_chunks)
    if chunks.shape != ids.shape:
        raise ValueError(f"{len(ids)} admissions, but chunk counts of shape {chunks.shape}")
    negatives = _hash_order(ids, ~positive, seed)
    chunks_of_first = np.concatenate([[0], np.cumsum(chunks[negatives])])  # [k]: of k negatives
    needed = int(np.searchsorted(chunks_of_first, chunks[positive].sum()))  # least k with enough
    sampled = positive.copy()
    sampled[negatives[: max(needed, int(positive.sum()))]] = True
    return sampled


def _checked(hadm_ids: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    ids, y = np.asarray(hadm_ids, dtype=np.int64), np.asarray(labels)
    if ids.shape != y.shape or ids.ndim != 1:
        raise ValueError(f"ids of shape {ids.shape} and labels of shape {y.shape} do not match")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1; remove admissions with an unknown label")
    return ids, y.astype(bool)


def _hash_order(ids: NDArray[np.int64], mask: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Return the positions where ``mask`` is True, sorted by the hash of the admission."""
    positions = np.flatnonzero(mask)
    digests = [
        md5(f"{seed}:{i}".encode(), usedforsecurity=False).hexdigest() for i in ids[positions]
    ]
    return positions[np.argsort(np.array(digests, dtype="U32"), kind="stable")]
