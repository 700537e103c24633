"""Read the headers of a table's CSV files, before Spark parses any of them.

Spark takes the names of one file for all files of a folder, and decides by the name of a file
whether to decompress it.
"""

from __future__ import annotations

import csv
import re
import zlib
from dataclasses import dataclass

from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.input_files import READ, InputFile, InputFiles, content, open_file

_START = 1 << 20  # bytes of a file in which its header ends
_TAIL = 10  # bytes at the end of a file
_NO_DATA = b"\x03\x00"  # nothing, compressed
_DELIMITERS = {
    "\t": "tabs", ";": "semicolons", "|": "bars", "^": "carets", "~": "tildes",
    "\x01": "characters of code 1",
}  # fmt: skip


@dataclass(frozen=True)
class CsvHeader:
    """The column names of one file, in order, as they stand."""

    file: InputFile
    names: tuple[str, ...]


def read_csv_headers(spark: SparkSession, table: InputFiles, key: str) -> list[CsvHeader]:
    """Return the header of each file.

    Raise a UserError if a file holds something else than its name says, or another delimiter.
    """
    return [CsvHeader(file, _names(spark, file, key)) for file in table.files]


def check_padding(spark: SparkSession, table: InputFiles, key: str) -> None:
    """Raise a UserError if zero bytes follow the gzip data of a file: only Python skips them."""
    for file in table.files:
        if file.path.lower().endswith(".gz") and _is_padded(_tail(spark, file)):
            raise UserError(
                f"{key}: {file.name} cannot be read to its end: zero bytes follow its gzip data; "
                "jobs/ingest.py reads it"
            )


def header_names(start: bytes) -> tuple[str, ...]:
    """Return the names of a header, from the first bytes of a file."""
    line = re.split(rb"\r\n?|\n", start, maxsplit=1)[0].decode("utf-8-sig", "replace")
    return tuple(next(csv.reader([line]), []))


def looks_like_header(names: tuple[str, ...]) -> bool:
    """Return False for a line that may be the text of a note, which no message shows."""
    return all(re.fullmatch(r"|[^\W\d]\w{0,39}", name.strip()) for name in names)


def _names(spark: SparkSession, file: InputFile, key: str) -> tuple[str, ...]:
    start = _start(spark, file)
    zipped = file.path.lower().endswith(".gz")
    what = content(start)
    if zipped and start and what != "gzip":
        raise UserError(
            f"{key}: {file.name} cannot be read: its name ends in .gz, but it is not gzip"
        )
    if what and not zipped:
        rename = "; let its name end in .csv.gz" if what == "gzip" else f"; {READ}"
        raise UserError(f"{key}: {file.name} cannot be read: it is {what}, not text{rename}")
    if zipped:
        start = _unzipped(start, f"{key}: {file.name}")
        what = content(start)
        if what:
            raise UserError(f"{key}: {file.name} cannot be read: the gzip holds {what}, not text")
    if b"\0" in start.partition(b"\n")[0]:
        raise UserError(
            f"{key}: {file.name} cannot be read: its header has zero bytes, as in UTF-16; UTF-8 is "
            "needed"
        )
    names = header_names(start)
    for delimiter, called in _DELIMITERS.items():
        if len(names) == 1 and delimiter in names[0]:
            raise UserError(
                f"{key}: {file.name} cannot be read: {called} separate its columns; "
                "commas are needed"
            )
    return names


def _start(spark: SparkSession, file: InputFile) -> bytes:
    stream = open_file(spark, file)
    try:
        start = bytes(stream.readNBytes(_START >> 6))
        if b"\n" not in start and len(start) == _START >> 6:
            start += bytes(stream.readNBytes(_START))
        return start
    finally:
        stream.close()


def _tail(spark: SparkSession, file: InputFile) -> bytes:
    stream = open_file(spark, file)
    try:
        stream.seek(max(0, file.size - _TAIL))
        return bytes(stream.readNBytes(_TAIL))
    finally:
        stream.close()


def _is_padded(tail: bytes) -> bool:
    """Return whether zero bytes follow gzip data, which ends with its checksum and size. Both are
    zero only where the data is empty, which are the two bytes before."""
    return len(tail) == _TAIL and not any(tail[-8:]) and tail[:2] != _NO_DATA


def _unzipped(start: bytes, name: str) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(start, _START)
    except zlib.error:
        raise UserError(f"{name} cannot be read to its end: its gzip data is damaged") from None
