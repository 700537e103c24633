"""Pretraining's examples, read by each process for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from readmit_spark.errors import UserError
from readmit_spark.scoring.batching import Ids, Index
from readmit_spark.storage.s3 import filesystem_of


class Example(NamedTuple):
    """As `core.pretraining` makes it, with what the second exercise asks."""

    input_ids: Ids
    n_first: int
    masked: Ids
    answers: Ids
    is_next: bool


@dataclass(frozen=True)
class ExampleIndex:
    """lengths in tokens and hidden words of each example: int64 [n], in the order of the files."""

    lengths: Index
    n_masked: Index

    def __len__(self) -> int:
        return len(self.lengths)


def read_index(folder: str, tokens: int, split: str) -> ExampleIndex:
    """All examples of a length and split."""
    table = _examples(folder, tokens, split).to_table(columns=_LENGTHS)
    return ExampleIndex(*(table[name].to_numpy().astype(np.int64) for name in _LENGTHS))


def read_examples(folder: str, tokens: int, split: str, rows: Index) -> dict[int, Example]:
    """Those at these places of the index. Only they stay in memory, as copies: a view would keep
    the batch."""
    wanted, found, before = np.sort(rows), {}, 0
    for batch in _examples(folder, tokens, split).to_batches(columns=list(Example._fields)):
        here = wanted[np.searchsorted(wanted, before) :]
        here = here[: np.searchsorted(here, before + batch.num_rows)]
        for row, values in zip(here.tolist(), _values(batch, here - before), strict=True):
            found[row] = values
        before += batch.num_rows
    return found


def _values(batch: Any, places: NDArray[np.int64]) -> Iterator[Example]:
    columns = [batch[name] for name in Example._fields]
    for i in places.tolist():
        ids, n_first, masked, answers, is_next = (column[i] for column in columns)
        yield Example(
            *(part.values.to_numpy().copy() if hasattr(part, "values") else part.as_py()
              for part in (ids, n_first, masked, answers, is_next))
        )  # fmt: skip


_LENGTHS = {
    "lengths": pc.list_value_length(ds.field("input_ids")),
    "n_masked": pc.list_value_length(ds.field("masked")),
}


def _examples(folder: str, tokens: int, split: str) -> Any:
    filesystem, path = filesystem_of(f"{folder}/examples_{tokens}/split={split}")
    try:
        files = ds.dataset(path, filesystem=filesystem, format="parquet")
    except FileNotFoundError:
        raise UserError(
            f"pretrain: no {split} example of {tokens} tokens came of the notes: too few of them, "
            "sentences too long for it, or pretrain.categories names none of theirs"
        ) from None
    # In the order of the names, on every machine.
    return ds.dataset(sorted(files.files), filesystem=filesystem, format="parquet")
