"""Read the chunks table in a training process: the chunks of a split or fold, and their tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from readmit_spark.errors import UserError
from readmit_spark.evaluation.balance import training_sample
from readmit_spark.notes.windows import parse_window
from readmit_spark.scoring.batching import Ids, Index
from readmit_spark.storage.s3 import filesystem_of

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class ChunkIndex:
    """Chunks with a label, without their tokens, sorted by hadm_id, days and chunk_index.

    All arrays are int64 [n]. days: of the window; 0 for `discharge`. lengths: tokens, special ones
    included. digests: the first 64 bits of the digest of the tokens; equal chunks have equal ones.
    """

    subject_ids: Index
    hadm_ids: Index
    days: Index
    chunk_indexes: Index
    labels: Index
    lengths: Index
    digests: Index

    def __len__(self) -> int:
        return len(self.hadm_ids)

    def take(self, rows: NDArray[Any]) -> ChunkIndex:
        """Return the chunks at these positions, or where the boolean mask is true."""
        return ChunkIndex(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def admissions(self) -> tuple[Index, Index, Index]:
        """Return hadm_id, label and number of chunks of each admission."""
        ids, first, counts = np.unique(self.hadm_ids, return_index=True, return_counts=True)
        return ids, self.labels[first], counts

    def first_equal(self) -> Index:
        """Return the row of the first chunk with the same tokens as each chunk, [n]."""
        _, first, group = np.unique(self.digests, return_index=True, return_inverse=True)
        return first[group]

    def balanced_sample(self, seed: int) -> ChunkIndex:
        """Return the training sample: classes balanced by admissions, then by chunks.

        Equal chunks of one admission are in it once: a snapshot mostly begins like the one before.
        docs/method.md, section 9.
        """
        keys = np.stack([self.hadm_ids, self.digests])
        _, first = np.unique(keys, axis=1, return_index=True)
        distinct = self.take(np.sort(first))
        ids, labels, counts = distinct.admissions()
        sample = ids[training_sample(ids, labels, counts, seed)]
        return distinct.take(np.isin(distinct.hadm_ids, sample))

    def fingerprint(self) -> str:
        """Return 16 hex digits of a hash of all arrays."""
        digest = hashlib.sha256()
        for name in self.__dataclass_fields__:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]


def admissions_of(folder: str, part: Part, fold: int | None, window: str | None = None) -> Index:
    """Return the sorted hadm_ids of one part of the cohort in `folder`.

    Without a fold the parts are the cohort's splits. With a fold, that fold is the test part. Of
    the other admissions, the validation split is the validation part and all others are the
    training part.
    With a window, only actionable admissions: the patient was in the house at the midnight that
    ends the window, or still is.
    """
    filesystem, path = filesystem_of(folder)
    columns = ["hadm_id", "split", "fold", "midnights"]
    cohort = ds.dataset(f"{path}/cohort", filesystem=filesystem, format="parquet").to_table(columns)
    split, in_fold = cohort["split"].to_numpy(), cohort["fold"].to_numpy() == fold
    if fold is None:
        in_part = split == part
    elif part == "test":
        in_part = in_fold
    else:
        in_part = ~in_fold & ((split == "validation") == (part == "validation"))
    days = parse_window(window).days if window else None
    if days is not None:
        in_part &= pc.fill_null(cohort["midnights"], days).to_numpy() >= days
    return np.sort(cohort["hadm_id"].to_numpy()[in_part])


def read_part(folder: str, part: Part, fold: int | None, windows: Sequence[str]) -> ChunkIndex:
    """Read the index of one part of the cohort in one window, or in several as snapshots.

    A snapshot is a document as it stood at the midnight that ends the window. Only admissions that
    were in the house then have it. Of a single window all admissions are read.
    """
    if len(windows) == 1:
        return read_index(folder, windows[0], admissions_of(folder, part, fold))
    indexes = [read_index(folder, w, admissions_of(folder, part, fold, w)) for w in windows]
    columns = {
        name: np.concatenate([getattr(index, name) for index in indexes])
        for name in ChunkIndex.__dataclass_fields__
    }
    both = ChunkIndex(**columns)
    return both.take(np.lexsort((both.chunk_indexes, both.days, both.hadm_ids)))


def read_index(folder: str, window: str, hadm_ids: Index) -> ChunkIndex:
    """Read the index of the labelled chunks of these admissions in one window.

    UserError if the window has no chunks at all.
    """
    labelled = _of_admissions(hadm_ids) & pc.field("label").is_valid()
    columns = ["subject_id", "hadm_id", "chunk_index", "label", "n_tokens"]
    table = _chunks(folder, window).to_table([*columns, "digest"], filter=labelled)
    table = table.sort_by([("hadm_id", "ascending"), ("chunk_index", "ascending")])
    arrays = {name: table[name].cast(pa.int64()).to_numpy() for name in columns}
    digests = [int(digest[:16], 16) for digest in table["digest"].to_pylist()]
    return ChunkIndex(
        arrays["subject_id"], arrays["hadm_id"], np.full(len(table), _days(window)),
        arrays["chunk_index"], arrays["label"], arrays["n_tokens"],
        np.array(digests, dtype=np.uint64).view(np.int64),
    )  # fmt: skip


def read_tokens(folder: str, windows: Sequence[str], index: ChunkIndex) -> list[Ids]:
    """Read the token ids of each chunk of `index`, in its order; windows: those of its chunks.

    Reads the table in batches, so only the requested chunks stay in memory.
    """
    tokens: list[Ids | None] = [None] * len(index)
    for window in windows:
        (rows,) = np.nonzero(index.days == _days(window))
        for row, ids in zip(rows, _tokens_of_window(folder, window, index.take(rows)), strict=True):
            tokens[row] = ids
    return [ids for ids in tokens if ids is not None]


def _days(window: str) -> int:
    return parse_window(window).days or 0


def _tokens_of_window(folder: str, window: str, index: ChunkIndex) -> list[Ids]:
    """Read the token ids of chunks of one window."""
    tokens: list[Ids | None] = [None] * len(index)
    width = int(index.chunk_indexes.max(initial=0)) + 1
    keys = index.hadm_ids * width + index.chunk_indexes
    order = np.argsort(keys)
    batches = _chunks(folder, window).to_batches(
        columns=["hadm_id", "chunk_index", "input_ids"],
        filter=_of_admissions(np.unique(index.hadm_ids)),
    )
    for batch in batches:
        chunk = batch["chunk_index"].to_numpy().astype(np.int64)
        # Chunks past the last requested chunk_index would collide with keys of other admissions.
        batch_keys = np.where(chunk < width, batch["hadm_id"].to_numpy() * width + chunk, -1)
        places = np.searchsorted(keys, batch_keys, sorter=order)
        for i in np.flatnonzero(places < len(keys)):
            row = order[places[i]]
            if keys[row] == batch_keys[i]:
                tokens[row] = batch["input_ids"][i].values.to_numpy().astype(np.int32)
    missing = sum(ids is None for ids in tokens)
    if missing:
        raise RuntimeError(f"{missing:,} chunks of {folder} were deleted while they were read")
    return [ids for ids in tokens if ids is not None]


def _of_admissions(hadm_ids: Index) -> Any:
    return pc.field("hadm_id").isin(pa.array(hadm_ids))


def _chunks(folder: str, window: str) -> Any:
    filesystem, path = filesystem_of(folder)
    try:
        return ds.dataset(f"{path}/chunks/window={window}", filesystem=filesystem, format="parquet")
    except FileNotFoundError:
        raise UserError(
            f"output.root: {folder} has no chunks of {window}: no admission has notes in it"
        ) from None
