"""A CSV of any size as Arrow batches, in bounded memory, as Spark's reader would read it.

All columns are text; nothing at all is null and `""` is an empty text. What Spark's path refuses
(a quote that is not closed or not doubled, a row with more or fewer fields than the header, a file
that breaks off) is a UserError here, which names file and row and holds no text.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
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
from readmit_spark.storage.csv_records import Tally, first_broken, tally

_BLOCK = 32 << 20  # bytes that are parsed at a time; no row may be larger
_ROWS_BYTES = 8 << 20  # characters that the second reading holds at a time


@dataclass(frozen=True)
class CsvFile:
    """`name` is how messages call it; `open` gives its bytes from the start, as they are stored."""

    name: str
    gzipped: bool
    open: Callable[[], BinaryIO]

    def stream(self) -> BinaryIO:
        """The decompressed bytes."""
        return gzip.open(self.open()) if self.gzipped else self.open()  # type: ignore[return-value]


@dataclass(frozen=True)
class Header:
    """The columns' names, and the line end that the parser folds to a line feed within texts."""

    names: tuple[str, ...]
    newline: bytes


def read_header(file: CsvFile) -> Header:
    """UserError where the first line is no header: it may then be a note, and is not shown."""
    with _whole(file), file.stream() as stream:
        line = io.BytesIO(stream.read(1 << 20)).readline()
    end = re.search(rb"\r\n?|\n", line)
    newline = end.group() if end else b"\n"
    text = line[: end.start() if end else None].decode("utf-8-sig", "replace")
    names = [name.strip() for name in next(csv.reader([text]), [])]
    if not names or not all(re.fullmatch(r"\w{1,40}", name) for name in names):
        raise UserError(f"{file.name}: its first line is not a header of column names")
    if len({name.upper() for name in names}) < len(names):
        raise UserError(f"{file.name}: its header names a column more than once")
    return Header(tuple(names), newline)


def read_batches(file: CsvFile, header: Header, block: int = _BLOCK) -> Iterator[pa.RecordBatch]:
    """The rows, in order, as text columns; a byte sequence that is not UTF-8 is the replacement
    character, as often as Java would have it."""
    rows, skipped = 0, False
    refused: list[str] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        refused.append(f"{row.actual_columns} fields and its header has {row.expected_columns}")
        return "error"

    # Arrow's own streaming reader reads ahead in a thread, which crashes the process where the
    # reader is left before its end; so each block is parsed by itself, in this thread.
    with _Watched(file) as watched:
        for data in _records(watched, block):
            if data is None:
                watched.check()
                raise _too_long(file, rows, block)
            watched.check()
            try:
                table = pacsv.read_csv(
                    pa.BufferReader(data),
                    pacsv.ReadOptions(
                        use_threads=False,
                        block_size=len(data) + 1,
                        column_names=header.names,
                        skip_rows=int(not skipped),
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
            except pa.ArrowInvalid:  # its message holds the row
                what = f"has {refused[0]}" if refused else "cannot be read"
                raise UserError(
                    f"{file.name}: a row behind row {rows:,} {what}; nothing was written"
                ) from None
            skipped = True
            for batch in table.to_batches():
                yield _as_spark(batch, header)
                rows += len(batch)
        watched.finish(rows)


def _records(watched: _Watched, block: int) -> Iterator[bytes | None]:
    """The bytes in pieces of whole records, of about `block` bytes; None, and no more, where a
    record is longer than that."""
    waiting = b""
    while data := watched.read(block):
        waiting += data
        end = _last_end(waiting)
        if end:
            yield waiting[:end]
            waiting = waiting[end:]
        elif len(waiting) > block:
            yield None
            return
    if waiting:
        yield waiting


def _last_end(data: bytes) -> int:
    """Behind the last line end of `data` that has an even number of quotes before it; 0 for none.
    A carriage return at the very end does not count: a line feed may follow."""
    codes = np.frombuffer(data, np.uint8)
    outside = np.cumsum(codes == ord('"')) % 2 == 0
    ends = (codes == ord("\n")) | (codes == ord("\r"))
    ends[-1] &= codes[-1] == ord("\n")
    where = np.flatnonzero(ends & outside)
    return int(where[-1]) + 1 if len(where) else 0


def _too_long(file: CsvFile, rows: int, block: int) -> UserError:
    return UserError(
        f"{file.name}: a row behind row {rows:,} has more than {block >> 20} MB, or a quote is not "
        "closed; nothing was written"
    )


def read_again(file: CsvFile, header: Header) -> Iterator[pa.RecordBatch]:
    """The same rows by another parser, Python's own; it knows no nulls, they are empty texts."""
    csv.field_size_limit(sys.maxsize)
    with _whole(file), file.stream() as stream:
        lines = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline="")
        rows: list[list[str]] = []
        size = 0
        reader = csv.reader(lines, strict=True)
        next(reader)
        for row in reader:
            if row:  # a blank line is no row
                rows.append(row)
                size += sum(map(len, row))
            if size > _ROWS_BYTES:
                yield _as_spark(_batch(rows, header), header)
                rows, size = [], 0
        if rows:
            yield _as_spark(_batch(rows, header), header)


class Digest:
    """A checksum of a column's texts, whatever the batches: of their bytes and of their lengths.
    A null counts as an empty text; nulls are counted."""

    def __init__(self) -> None:
        self.nulls = 0
        self._bytes, self._lengths = hashlib.sha256(), hashlib.sha256()

    def update(self, column: pa.Array) -> None:
        self.nulls += column.null_count
        texts = pc.fill_null(column.cast(pa.binary()), b"")
        self._lengths.update(pc.binary_length(texts).to_numpy().astype("<i8").tobytes())
        _, ends, data = texts.buffers()
        if data is not None and len(texts):
            first, last = np.frombuffer(ends, np.int32)[[texts.offset, texts.offset + len(texts)]]
            self._bytes.update(memoryview(data)[first:last])

    def hex(self) -> str:
        return hashlib.sha256(self._bytes.digest() + self._lengths.digest()).hexdigest()


def digests(batches: Iterator[pa.RecordBatch]) -> tuple[int, dict[str, Digest]]:
    """Rows, and the digest of each column."""
    rows = 0
    found: dict[str, Digest] = {}
    for batch in batches:
        rows += len(batch)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            found.setdefault(name, Digest()).update(column)
    return rows, found


def _batch(rows: list[list[str]], header: Header) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array([v.encode("utf-8", "surrogateescape") for v in column], pa.binary())
         for column in columns],
        list(header.names),
    )  # fmt: skip


def _as_spark(batch: pa.RecordBatch, header: Header) -> pa.RecordBatch:
    columns = batch.columns
    if header.newline != b"\n":
        # Spark's parser folds the header's kind of line end, and drops each NUL as it does so.
        columns = [pc.replace_substring(c, header.newline, b"\n") for c in columns]
        columns = [pc.replace_substring(c, b"\0", b"") for c in columns]
    return pa.RecordBatch.from_arrays(list(map(_utf8, columns)), list(header.names))


def _utf8(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if v is None else v.decode("utf-8", _JAVA) for v in column.to_pylist()],
            pa.string(),
        )


def _like_java(error: UnicodeError) -> tuple[str, int]:
    """Java takes the bytes of a lone surrogate, or of its beginning, as one error, not each."""
    assert isinstance(error, UnicodeDecodeError)
    surrogate = re.match(rb"\xed[\xa0-\xbf][\x80-\xbf]?", error.object[error.start :][:3])
    return "\ufffd", error.start + surrogate.end() if surrogate else error.end


_JAVA = "readmit_spark_java"
codecs.register_error(_JAVA, _like_java)


@contextmanager
def _whole(file: CsvFile) -> Iterator[None]:
    """Makes a UserError of what a file that breaks off raises."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise UserError(
            f"{file.name} cannot be read to its end: a whole .csv or .csv.gz is needed"
        ) from None


class _Watched:
    """The bytes on their way to the parser, with an eye on the quotes of each line: the parser
    takes a quote at a wrong place for text, or the rest of the file for one, without a word."""

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        self._stream = file.stream()
        self._tally = Tally()
        self._lines = 0
        self._begun = b""
        self._broken: int | None = None
        self.closed = False

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        with _whole(self._file):
            data = self._stream.read(size)
        begun = self._begun + data
        # A \r at the end may be half of a line end.
        cut = max(begun.rfind(b"\n", 0), begun.rfind(b"\r", 0, -1)) + 1
        self._begun = begun[cut:]
        self._look(begun[:cut].splitlines())
        return data

    def check(self) -> None:
        """UserError where a line that has been read is broken."""
        if self._broken is not None:
            raise UserError(
                f"{self._file.name}: line {self._broken:,} has a quote in the middle of a field: a "
                "quote is not closed or not doubled; nothing was written"
            )

    def finish(self, rows: int) -> None:
        """UserError where the whole file has other records than the parser found."""
        self._look(self._begun.splitlines())
        self.check()
        records = self._tally.count_outside - 1
        if self._tally.flips or records != rows:
            raise UserError(
                f"{self._file.name} has {records:,} records by its quotes but {rows:,} by the CSV "
                "parser: a quote is not closed or not doubled; nothing was written"
            )

    def _look(self, lines: list[bytes]) -> None:
        array = pa.array(lines, pa.binary())
        after = tally(array, self._tally)
        if self._broken is None and after.broken_outside:
            self._broken = self._lines + first_broken(array, self._tally) + 1
        self._tally = after
        self._lines += len(lines)
