"""A table's file before it is parsed: its size, and a CSV's records by its quotes alone.

A CSV parser swallows rows without a word where a quote is not closed, and what it says of a file
that it cannot read holds the text that came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.csv_records import Tally, tally
from readmit_spark.storage.files import Files

_LARGE = 256 << 20  # bytes


def size_of(spark: SparkSession, path: str) -> int | None:
    """The bytes of a table's files; None where there is no such file or folder."""
    folder, _, name = path.rstrip("/").rpartition("/")
    files = Files(spark, folder or ("/" if path.startswith("/") else "."))
    return sum(files.sizes(name).values()) if files.exists(name) else None


def large_csv(spark: SparkSession, path: str) -> int | None:
    """The bytes of a CSV that is read by one task for minutes; None where a table is anything else.

    The threshold is 256 MB of text, which a compressed file has in a quarter of it.
    """
    if not is_csv(path):
        return None
    found = size_of(spark, path) or 0
    return found if found > (_LARGE // 4 if path.lower().endswith(".gz") else _LARGE) else None


def is_csv(path: str) -> bool:
    """True for `.csv` and `.csv.gz`; anything else is read as Parquet."""
    return path.lower().endswith((".csv", ".csv.gz"))


@dataclass(frozen=True)
class Records:
    """A CSV by its quotes alone: how many records it has, and on how many lines there is a quote
    that neither opens nor closes a field nor is doubled."""

    count: int
    broken: int


def csv_records(spark: SparkSession, path: str, key: str) -> int | None:
    """`count_records` of a CSV, None for Parquet. UserError where a file breaks off or its quotes
    do not pair.

    To be asked before anything else: what the CSV parser says of a file that it cannot read holds
    the text that came before.
    """
    if not is_csv(path):
        return None
    try:
        records = count_records(spark, path)
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable(path, key, error) from None
    if records.broken:
        raise UserError(
            f"{key}: {path} has {records.broken:,} lines with a quote in the middle of a field: "
            "a quote is not closed or not doubled; nothing was written, and jobs/ingest.py names "
            "the line"
        )
    return records.count


def check_records(path: str, key: str, expected: int | None, parsed: int, malformed: int) -> None:
    """UserError where the CSV parser found other records than `csv_records`, or malformed ones: it
    swallows rows without a word where a quote is not closed."""
    if malformed:
        found = f"{malformed:,} rows with more or fewer fields than its header"
    elif expected is not None and expected != parsed:
        found = f"{expected:,} records by its quotes but {parsed:,} by the CSV parser"
    else:
        return
    raise UserError(
        f"{key}: {path} has {found}: a quote is not closed or not doubled, or a line is cut; "
        "nothing was written, and jobs/ingest.py names the line"
    )


def count_records(spark: SparkSession, path: str) -> Records:
    """Of an RFC 4180 file (or folder of them): headers and blank lines are no records.

    A record ends at a line end with an even number of quotes before it. Each split gives its counts
    for both cases (it begins outside or inside quotes) and whether it flips the case; a file's
    splits are then put together in order.
    """
    lines = spark.read.text(path).select(
        F.xxhash64("_metadata.file_path").alias("file"),
        F.col("_metadata.file_block_start").alias("start"),
        F.col("value"),
    )
    parts = lines.mapInArrow(_count_splits, _SPLIT_SCHEMA).collect()
    count = broken = 0
    for _, splits in groupby(sorted(parts), key=lambda part: part.file):
        inside = False
        for split in splits:
            count += split.count_inside if inside else split.count_outside
            broken += split.broken_inside if inside else split.broken_outside
            inside ^= split.flips
        count -= 1
    return Records(count, broken)


_SPLIT_SCHEMA = (
    "file long, start long, count_outside long, count_inside long, "
    "broken_outside long, broken_inside long, flips boolean"
)
_SPLIT_ARROW = pa.schema(
    {"file": pa.int64(), "start": pa.int64(), **dict.fromkeys(Tally._fields, pa.int64())}
    | {"flips": pa.bool_()}
)


def _count_splits(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row a (file, start): the tally of its batches, which arrive in order."""
    tallies: dict[tuple[int, int], Tally] = {}
    for batch in batches:
        keys = zip(batch["file"].to_pylist(), batch["start"].to_pylist(), strict=True)
        first = 0
        for key, run in groupby(keys):
            lines = batch["value"].slice(first, len(list(run)))
            first += len(lines)
            tallies[key] = tally(lines, tallies.get(key, Tally()))
    rows = [
        {"file": file, "start": start, **split._asdict()}
        for (file, start), split in tallies.items()
    ]
    yield pa.RecordBatch.from_pylist(rows, _SPLIT_ARROW)


def unreadable(path: str, key: str, error: Exception) -> UserError:
    """Without what `error` says beside: that may be text."""
    if "PATH_NOT_FOUND" in str(error):
        return UserError(f"{key}: {path} does not exist")
    return UserError(
        f"{key}: {path} cannot be read to its end: a whole .csv, .csv.gz or Parquet table is needed"
    )
