"""The chunks table as training data: read with pyarrow, no Spark."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from numpy.typing import NDArray

from readmit_spark.core.balance import training_sample
from readmit_spark.errors import UserError
from readmit_spark.models.batching import pad
from readmit_spark.storage import filesystem_of

_COLUMNS = ["subject_id", "hadm_id", "chunk_index", "input_ids", "label"]


@dataclass(frozen=True)
class Chunks:
    """Chunks with a known label.

    subject_ids, hadm_ids, labels: [n] int64; input_ids: n arrays of int32, specials included.
    """

    subject_ids: NDArray[np.int64]
    hadm_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    input_ids: list[NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.input_ids)

    def take(self, mask: NDArray[np.bool_]) -> Chunks:
        """The chunks where `mask` holds."""
        kept = [ids for ids, keep in zip(self.input_ids, mask, strict=True) if keep]
        return Chunks(self.subject_ids[mask], self.hadm_ids[mask], self.labels[mask], kept)

    def by_length(self) -> Chunks:
        """The same chunks, the longest first."""
        order = np.argsort([-len(ids) for ids in self.input_ids], kind="stable")
        ids = [self.input_ids[i] for i in order]
        return Chunks(self.subject_ids[order], self.hadm_ids[order], self.labels[order], ids)

    def admissions(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """hadm_id, label and number of chunks of each admission."""
        ids, first, counts = np.unique(self.hadm_ids, return_index=True, return_counts=True)
        return ids, self.labels[first], counts

    def fingerprint(self) -> str:
        """16 hex digits of what a model is trained on: ids, labels and tokens, in order."""
        digest = hashlib.sha256()
        for array in (self.hadm_ids, self.labels, *self.input_ids):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def read_chunks(folder: str, window: str, split: str) -> Chunks:
    """The chunks of a window and split whose label is known, by hadm_id and chunk_index.

    folder: of the run of prepare that made them.
    """
    filesystem, path = filesystem_of(folder)
    try:
        data = ds.dataset(f"{path}/chunks/window={window}", filesystem=filesystem, format="parquet")
    except FileNotFoundError:
        raise UserError(
            f"output.root: {folder} has no chunks of {window}: no stay has such notes"
        ) from None
    table = data.to_table(
        columns=_COLUMNS, filter=(pc.field("split") == split) & pc.field("label").is_valid()
    ).sort_by([("hadm_id", "ascending"), ("chunk_index", "ascending")])
    ids = table["input_ids"].combine_chunks()
    flat, offsets = ids.flatten().to_numpy(), np.append(0, np.cumsum(pc.list_value_length(ids)))
    return Chunks(
        table["subject_id"].to_numpy(),
        table["hadm_id"].to_numpy(),
        table["label"].cast(pa.int64()).to_numpy(),
        [flat[a:b] for a, b in pairwise(offsets)],
    )


def balanced_training(chunks: Chunks, seed: int) -> Chunks:
    """The training sample of method section 9: balanced by admissions, then by chunks."""
    ids, labels, counts = chunks.admissions()
    kept = ids[training_sample(ids, labels, counts, seed)]
    return chunks.take(np.isin(chunks.hadm_ids, kept))


class ChunkDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows for the Trainer: input_ids, labels (one float), length."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, i: int) -> dict[str, Any]:
        ids = self._chunks.input_ids[i]
        return {"input_ids": ids, "labels": float(self._chunks.labels[i]), "length": len(ids)}


class Collator:
    """Pads a batch to its own longest chunk; labels [rows, 1] float for one logit."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad([row["input_ids"] for row in rows], self._pad_id)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.tensor([[row["labels"]] for row in rows]),
        }
