"""Checksums of the text columns of a table, independent of the batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Digest:
    """Checksum of the bytes and lengths of a column's texts.

    A null has the same checksum as an empty text; `nulls` counts the nulls.
    """

    def __init__(self) -> None:
        self.nulls = 0
        self._bytes, self._lengths = hashlib.sha256(), hashlib.sha256()

    def update(self, column: pa.Array) -> None:
        """Append the texts of `column`."""
        self.nulls += column.null_count
        texts = pc.fill_null(column.cast(pa.binary()), b"")
        self._lengths.update(pc.binary_length(texts).to_numpy().astype("<i8").tobytes())
        _, offsets, data = texts.buffers()
        if data is not None and len(texts):
            ends = [texts.offset, texts.offset + len(texts)]
            first, last = np.frombuffer(offsets, np.int32)[ends]
            self._bytes.update(memoryview(data)[first:last])

    def hex(self) -> str:
        """Return the checksum of all texts so far."""
        return hashlib.sha256(self._bytes.digest() + self._lengths.digest()).hexdigest()


@dataclass(frozen=True)
class TableDigest:
    """Number of rows of a table, and the Digest of each column."""

    rows: int
    columns: dict[str, Digest]


def digest_table(batches: Iterable[pa.RecordBatch]) -> TableDigest:
    """Compute the digests of a table; one without batches has no columns."""
    rows = 0
    columns: dict[str, Digest] = {}
    for batch in batches:
        rows += len(batch)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            columns.setdefault(name, Digest()).update(column)
    return TableDigest(rows, columns)
