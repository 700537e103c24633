"""Read a CSV of any size as Arrow batches in bounded memory, with the results of Spark's reader.

All columns are text. An empty field is null and `""` is an empty text. A misplaced or unclosed
quote, a row with more or fewer fields than the header, or a file that is cut off raises a
UserError that names file and line or row and contains no text of the file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from readmit_spark.errors import UserError
from readmit_spark.storage.csv_headers import header_names
from readmit_spark.storage.quote_counts import QuoteCounts, add_lines, first_misplaced

_BLOCK = 32 << 20  # bytes parsed at a time; a longer record is an error
_SECOND_READ_CHARACTERS = 8 << 20  # characters that `read_again` holds in memory


@dataclass(frozen=True)
class CsvFile:
    """A CSV source.

    name: how error messages call the file; open: returns its stored bytes from the start.
    """

    name: str
    gzipped: bool
    open: Callable[[], BinaryIO]

    def stream(self) -> BinaryIO:
        """Return the decompressed bytes."""
        return gzip.open(self.open()) if self.gzipped else self.open()  # type: ignore[return-value]


@dataclass(frozen=True)
class Header:
    """Column names, and the line end that the parser replaces by a line feed inside texts."""

    names: tuple[str, ...]
    newline: bytes


def read_header(file: CsvFile) -> Header:
    """Read the first line.

    A column whose name is empty or there already, as pandas' index, gets the name `column_N`, with
    its place from 1. Raise a UserError if the file is empty or damaged.
    """
    with _complete(file), file.stream() as stream:
        line = io.BytesIO(stream.read(1 << 20)).readline()
    end = re.search(rb"\r\n?|\n", line)
    newline = end.group() if end else b"\n"
    names = [name.strip() for name in header_names(line)]
    if not names:
        raise UserError(f"{file.name} is empty")
    taken = {name.upper() for name in names}
    return Header(tuple(_unique(names, taken)), newline)


def _unique(names: list[str], taken: set[str]) -> Iterator[str]:
    seen = {""}
    for place, name in enumerate(names, start=1):
        if name.upper() in seen:
            name = f"column_{place}"
            while name.upper() in taken:
                name += "_"
        seen.add(name.upper())
        yield name


def read_batches(file: CsvFile, header: Header, block: int = _BLOCK) -> Iterator[pa.RecordBatch]:
    """Yield the rows in order as text columns.

    Bytes that are not UTF-8 become as many replacement characters as in Java.
    """
    rows, header_skipped = 0, False
    # Arrow's own streaming reader reads ahead in a thread, which crashes the process if the
    # reader is abandoned before its end. Therefore each block is parsed separately in this thread.
    with _QuoteCheckedStream(file) as stream:
        for data in _blocks_of_records(stream, block):
            stream.check()
            if data is None:
                raise _too_long(file, rows, block)
            for batch in _parse(file, header, data, rows, skip_header=not header_skipped):
                yield _as_spark(batch, header)
                rows += len(batch)
            header_skipped = True
        stream.check_end(rows)


def read_again(file: CsvFile, header: Header) -> Iterator[pa.RecordBatch]:
    """Yield the same rows as `read_batches`, read by Python's csv module; a null is an empty text.

    Two independent parsers must agree before a table is published.
    """
    csv.field_size_limit(sys.maxsize)
    with _complete(file), file.stream() as stream:
        lines = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
        rows: list[list[str]] = []
        characters = 0
        reader = csv.reader(lines, strict=True)
        next(reader)
        for row in reader:
            if row:  # a blank line is not a row
                rows.append(row)
                characters += sum(map(len, row))
            if characters > _SECOND_READ_CHARACTERS:
                yield _as_spark(_batch(rows, header), header)
                rows, characters = [], 0
        if rows:
            yield _as_spark(_batch(rows, header), header)


def _parse(
    file: CsvFile, header: Header, data: bytes, rows_before: int, skip_header: bool
) -> list[pa.RecordBatch]:
    refused: list[str] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        refused.append(f"{row.actual_columns} fields and its header has {row.expected_columns}")
        return "error"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            pacsv.ReadOptions(
                use_threads=False,
                block_size=len(data) + 1,
                column_names=header.names,
                skip_rows=int(skip_header),
            ),
            pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            pacsv.ConvertOptions(
                check_utf8=False,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                column_types=dict.fromkeys(header.names, pa.binary()),
            ),
        )
    except pa.ArrowInvalid:  # its message contains the row
        problem = f"has {refused[0]}" if refused else "cannot be read"
        raise UserError(
            f"{file.name}: a row after row {rows_before:,} {problem}; nothing was written"
        ) from None
    return table.to_batches()  # type: ignore[no-any-return]


def _blocks_of_records(stream: _QuoteCheckedStream, block: int) -> Iterator[bytes | None]:
    """Yield the bytes in pieces of complete records, of about `block` bytes.

    Yield None and stop at a record longer than `block`.
    """
    pending = b""
    while data := stream.read(block):
        pending += data
        end = _end_of_last_record(pending)
        if end:
            yield pending[:end]
            pending = pending[end:]
        elif len(pending) > block:
            yield None
            return
    if pending:
        yield pending


def _end_of_last_record(data: bytes) -> int:
    """Return the index after the last line end with an even number of quotes before it, or 0.

    A carriage return at the very end does not count, because a line feed may follow.
    """
    codes = np.frombuffer(data, np.uint8)
    outside = np.cumsum(codes == ord('"')) % 2 == 0
    ends = (codes == ord("\n")) | (codes == ord("\r"))
    ends[-1] &= codes[-1] == ord("\n")
    record_ends = np.flatnonzero(ends & outside)
    return int(record_ends[-1]) + 1 if len(record_ends) else 0


def _too_long(file: CsvFile, rows_before: int, block: int) -> UserError:
    return UserError(
        f"{file.name}: a row after row {rows_before:,} has more than {block >> 20} MB, or a quote "
        "is not closed; nothing was written"
    )


def _batch(rows: list[list[str]], header: Header) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array([v.encode("utf-8", "surrogateescape") for v in column], pa.binary())
         for column in columns],
        list(header.names),
    )  # fmt: skip


def _as_spark(batch: pa.RecordBatch, header: Header) -> pa.RecordBatch:
    """Convert binary columns to text as Spark's CSV reader does."""
    columns = batch.columns
    if header.newline != b"\n":
        # Spark's parser replaces the header's kind of line end, and then also drops NUL bytes.
        columns = [pc.replace_substring(c, header.newline, b"\n") for c in columns]
        columns = [pc.replace_substring(c, b"\0", b"") for c in columns]
    return pa.RecordBatch.from_arrays(list(map(_decode, columns)), list(header.names))


def _decode(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if v is None else v.decode("utf-8", _JAVA_ERRORS) for v in column.to_pylist()],
            pa.string(),
        )


def _replace_like_java(error: UnicodeError) -> tuple[str, int]:
    """Replace a lone surrogate, or its first two bytes, by one character; Python uses several."""
    assert isinstance(error, UnicodeDecodeError)
    surrogate = re.match(rb"\xed[\xa0-\xbf][\x80-\xbf]?", error.object[error.start :][:3])
    return "\ufffd", error.start + surrogate.end() if surrogate else error.end


_JAVA_ERRORS = "readmit_spark_java"
codecs.register_error(_JAVA_ERRORS, _replace_like_java)


@contextmanager
def _complete(file: CsvFile) -> Iterator[None]:
    """Convert the exceptions that a cut-off gzip file raises to a UserError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(
            f"{file.name} cannot be read to its end: it must be a complete .csv or .csv.gz"
        ) from None


class _QuoteCheckedStream:
    """Decompressed bytes of a CSV that checks the quotes of each line that passes.

    Arrow's parser silently accepts a misplaced quote as text, or takes the rest of the file for
    one quoted field.
    """

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        self._stream = file.stream()
        self._counts = QuoteCounts()
        self._lines = 0
        self._incomplete_line = b""
        self._first_misplaced: int | None = None  # line number

    def __enter__(self) -> _QuoteCheckedStream:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        with _complete(self._file):
            data = self._stream.read(size)
        text = self._incomplete_line + data
        # A \r at the end may be the first half of a line end.
        end = max(text.rfind(b"\n", 0), text.rfind(b"\r", 0, -1)) + 1
        self._incomplete_line = text[end:]
        self._count(text[:end].splitlines())
        return data

    def check(self) -> None:
        """Raise a UserError if a line read so far has a misplaced quote."""
        if self._first_misplaced is not None:
            raise UserError(
                f"{self._file.name}: line {self._first_misplaced:,} has a quote in the middle of a "
                "field: a quote is not closed or not doubled; nothing was written"
            )

    def check_end(self, rows: int) -> None:
        """Raise a UserError unless the complete file has as many records as parsed `rows`."""
        self._count(self._incomplete_line.splitlines())
        self.check()
        records = self._counts.records_outside - 1
        if self._counts.flips or records != rows:
            raise UserError(
                f"{self._file.name} has {records:,} records by its quotes but {rows:,} by the CSV "
                "parser: a quote is not closed or not doubled; nothing was written"
            )

    def _count(self, lines: list[bytes]) -> None:
        array = pa.array(lines, pa.binary())
        counts = add_lines(self._counts, array)
        if self._first_misplaced is None and counts.misplaced_outside:
            self._first_misplaced = self._lines + first_misplaced(self._counts, array) + 1
        self._counts = counts
        self._lines += len(lines)
