"""Who trains, validates and is held out; and the chunks table, read by each process for itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from readmit_spark.errors import UserError
from readmit_spark.notes.windows import parse_window
from readmit_spark.scoring.batching import Ids, Index
from readmit_spark.storage.s3 import filesystem_of

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class ChunkIndex:
    """Chunks of known label without their tokens, by hadm_id and chunk_index.

    All arrays are int64 [n]; `lengths` in tokens, specials included.
    """

    subject_ids: Index
    hadm_ids: Index
    chunk_indexes: Index
    labels: Index
    lengths: Index

    def __len__(self) -> int:
        return len(self.hadm_ids)

    def take(self, rows: NDArray[Any]) -> ChunkIndex:
        """The chunks at these places, or where the mask holds."""
        return ChunkIndex(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def admissions(self) -> tuple[Index, Index, Index]:
        """hadm_id, label and number of chunks of each admission."""
        ids, first, counts = np.unique(self.hadm_ids, return_index=True, return_counts=True)
        return ids, self.labels[first], counts

    def fingerprint(self) -> str:
        """16 hex digits of which chunks these are, of which label and length."""
        digest = hashlib.sha256()
        for name in self.__dataclass_fields__:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]


def admissions_of(folder: str, part: Part, fold: int | None, window: str | None = None) -> Index:
    """hadm_ids of the cohort under `folder` that play this part, in rising order.

    Without a fold the parts are the cohort's splits. With one, the fold is the test set; of the
    others those of the validation split validate, and all else trains. With a window of N days,
    only stays that last N days or have not ended: those of whom an alert is of use.
    """
    filesystem, path = filesystem_of(folder)
    columns = ["hadm_id", "split", "fold", "duration_days"]
    cohort = ds.dataset(f"{path}/cohort", filesystem=filesystem, format="parquet").to_table(columns)
    split, held_out = cohort["split"].to_numpy(), cohort["fold"].to_numpy() == fold
    if fold is None:
        mine = split == part
    elif part == "test":
        mine = held_out
    else:
        mine = ~held_out & ((split == "validation") == (part == "validation"))
    days = parse_window(window).days if window else None
    if days is not None:
        mine &= ~(pc.fill_null(cohort["duration_days"], np.inf).to_numpy() < days)
    return np.sort(cohort["hadm_id"].to_numpy()[mine])


def read_index(folder: str, window: str, hadm_ids: Index) -> ChunkIndex:
    """The chunks of these admissions in a window whose label is known."""
    wanted = _of(hadm_ids) & pc.field("label").is_valid()
    columns = ["subject_id", "hadm_id", "chunk_index", "label", "n_tokens"]
    table = _chunks(folder, window).to_table(columns, filter=wanted)
    table = table.sort_by([("hadm_id", "ascending"), ("chunk_index", "ascending")])
    return ChunkIndex(*(table[name].cast(pa.int64()).to_numpy() for name in columns))


def read_tokens(folder: str, window: str, index: ChunkIndex) -> list[Ids]:
    """The token ids of each chunk of `index`, in its order. Passes over the table batch by batch:
    only what is asked for stays in memory."""
    found: list[Ids | None] = [None] * len(index)
    width = int(index.chunk_indexes.max(initial=0)) + 1
    keys = index.hadm_ids * width + index.chunk_indexes
    order = np.argsort(keys)
    batches = _chunks(folder, window).to_batches(
        columns=["hadm_id", "chunk_index", "input_ids"], filter=_of(np.unique(index.hadm_ids))
    )
    for batch in batches:
        chunk = batch["chunk_index"].to_numpy().astype(np.int64)
        here = np.where(chunk < width, batch["hadm_id"].to_numpy() * width + chunk, -1)
        places = np.searchsorted(keys, here, sorter=order)
        for i in np.flatnonzero(places < len(keys)):
            row = order[places[i]]
            if keys[row] == here[i]:
                found[row] = batch["input_ids"][i].values.to_numpy().astype(np.int32)
    missing = sum(ids is None for ids in found)
    if missing:
        raise RuntimeError(f"{missing:,} chunks of {folder} went away while they were read")
    return [ids for ids in found if ids is not None]


def _of(hadm_ids: Index) -> Any:
    return pc.field("hadm_id").isin(pa.array(hadm_ids))


def _chunks(folder: str, window: str) -> Any:
    filesystem, path = filesystem_of(folder)
    try:
        return ds.dataset(f"{path}/chunks/window={window}", filesystem=filesystem, format="parquet")
    except FileNotFoundError:
        raise UserError(
            f"output.root: {folder} has no chunks of {window}: no stay has such notes"
        ) from None
