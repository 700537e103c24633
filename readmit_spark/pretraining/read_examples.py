"""Read the pretraining examples in a training process."""

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
    """One example: arrays int32 as in `examples.Example`, and whether the second half follows."""

    input_ids: Ids
    n_first: int
    masked: Ids
    answers: Ids
    is_next: bool


@dataclass(frozen=True)
class ExampleIndex:
    """Tokens and masked words of each example: int64 [n], in the order of the files."""

    lengths: Index
    n_masked: Index

    def __len__(self) -> int:
        return len(self.lengths)


def read_index(folder: str, tokens: int, split: str) -> ExampleIndex:
    """Read the index of all examples of at most `tokens` tokens in one split."""
    table = _examples(folder, tokens, split).to_table(columns=_LENGTHS)
    return ExampleIndex(*(table[name].to_numpy().astype(np.int64) for name in _LENGTHS))


def read_examples(folder: str, tokens: int, split: str, rows: Index) -> dict[int, Example]:
    """Read the examples at these rows of the index, by row.

    Only they stay in memory: they are copies, because a view would keep its whole batch.
    """
    rows, examples, start = np.sort(rows), {}, 0
    for batch in _examples(folder, tokens, split).to_batches(columns=list(Example._fields)):
        first, last = np.searchsorted(rows, (start, start + batch.num_rows))
        in_batch = rows[first:last]
        for row, example in zip(in_batch.tolist(), _at(batch, in_batch - start), strict=True):
            examples[row] = example
        start += batch.num_rows
    return examples


def _at(batch: Any, places: NDArray[np.int64]) -> Iterator[Example]:
    columns = [batch[name] for name in Example._fields]
    for i in places.tolist():
        values = [column[i] for column in columns]
        yield Example(
            *(v.values.to_numpy().copy() if hasattr(v, "values") else v.as_py() for v in values)
        )


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
            f"pretrain: the notes give no {split} example of {tokens} tokens: too few notes, "
            "segments too long, or none of the categories in pretrain.categories"
        ) from None
    # Sorted, so the rows have the same order on every machine.
    return ds.dataset(sorted(files.files), filesystem=filesystem, format="parquet")
