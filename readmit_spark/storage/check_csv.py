"""Check CSV files before and after Spark parses them.

Spark's CSV parser silently drops rows if a quote is not closed, and its error messages about a
file that it cannot read may contain note text. Therefore the records are counted by their quotes
before the file is parsed.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.csv_headers import read_csv_headers
from readmit_spark.storage.input_files import AS_IT_STANDS, InputFile, open_file
from readmit_spark.storage.quote_counts import QuoteCounts, add_lines
from readmit_spark.storage.table_source import find_table

_LARGE = 256 << 20  # bytes of text; a compressed file has about a quarter of it
_SMALL = 32 << 20  # bytes of text that the driver counts sooner than Spark's Python workers start


def large_csv_bytes(spark: SparkSession, path: str, key: str) -> int | None:
    """Return the size of a CSV that one Spark task would read for minutes; None for other tables.

    The limit is 256 MB for `.csv` and 64 MB for `.csv.gz`, of one file.
    """
    table = find_table(spark, path, key)
    if table.kind != "csv":
        return None
    large = [
        file.size
        for file in table.files
        if file.size > (_LARGE // 4 if file.path.lower().endswith(".gz") else _LARGE)
    ]
    return table.size if large else None


@dataclass(frozen=True)
class RecordCount:
    """Records of a CSV, and its lines with a misplaced quote (see quote_counts)."""

    records: int
    misplaced: int


def expected_records(spark: SparkSession, path: str, key: str) -> int | None:
    """Count the records of a CSV by its quotes; return None for Parquet.

    Call this before Spark parses the file, whose error messages may contain note text. Raise a
    UserError if the file is missing or cut off, or has a misplaced quote. `key` is the
    configuration key of the path, for the message.
    """
    table = find_table(spark, path, key)
    if table.kind != "csv":
        return None
    read_csv_headers(spark, table, key)  # another encoding or delimiter looks like misplaced quotes
    try:
        count = _count_small(spark, table.files)
        if count is None:
            count = count_records(spark, [file.path for file in table.files])
    except (PySparkException, Py4JJavaError, EOFError, OSError, zlib.error):
        # Spark's message may contain note text.
        raise UserError(
            f"{key}: {path} cannot be read to its end: it must be a complete .csv, .csv.gz or "
            "Parquet table"
        ) from None
    if count.misplaced:
        raise UserError(
            f"{key}: {path} has {count.misplaced:,} lines with a quote in the middle of a field: "
            "a quote is not closed or not doubled; nothing was written; jobs/ingest.py names "
            "the line"
        )
    return count.records


def check_records(path: str, key: str, expected: int | None, parsed: int, malformed: int) -> None:
    """Raise a UserError if the CSV parser lost or merged records, or read malformed ones.

    expected: result of `expected_records`; parsed: rows of the parser; malformed: rows with more
    or fewer fields than the header.
    """
    if malformed:
        problem = f"{malformed:,} rows with more or fewer fields than its header"
    elif expected is not None and expected != parsed:
        problem = f"{expected:,} records by its quotes but {parsed:,} by the CSV parser"
    else:
        return
    raise UserError(
        f"{key}: {path} has {problem}: a quote is not closed or not doubled, or a line is cut "
        "off; nothing was written; jobs/ingest.py names the line"
    )


def _count_small(spark: SparkSession, files: Sequence[InputFile]) -> RecordCount | None:
    """Count as `count_records` does, in this process; None if the files are large."""
    left, counts = _SMALL, []
    for file in files:
        text = _text(spark, file, left) if file.size <= left else None
        if text is None:
            return None
        left -= len(text)
        if text:
            lines = pa.array(text.splitlines(), pa.binary())
            counts.append(add_lines(QuoteCounts(), lines))
    return RecordCount(
        sum(count.records_outside - 1 for count in counts),  # - the header
        sum(count.misplaced_outside for count in counts),
    )


def _text(spark: SparkSession, file: InputFile, limit: int) -> bytes | None:
    """Return the uncompressed bytes of a file; None if they are more than `limit`."""
    stream = open_file(spark, file)
    try:
        stored = bytes(stream.readAllBytes())
    finally:
        stream.close()
    if not file.path.lower().endswith(".gz"):
        return stored
    text = gzip.GzipFile(fileobj=io.BytesIO(stored)).read(limit + 1)
    return text if len(text) <= limit else None


def count_records(spark: SparkSession, paths: Sequence[str]) -> RecordCount:
    """Count the records of RFC 4180 files in parallel.

    Headers and blank lines are not records. Spark reads a file in splits. A split does not know
    whether it begins inside a quoted field, so it is counted for both cases. The counts of a file's
    splits are then combined in order.
    """
    lines = (
        spark.read.options(**AS_IT_STANDS)
        .text(list(paths))
        .select(
            F.xxhash64("_metadata.file_path").alias("file"),
            F.col("_metadata.file_block_start").alias("start"),
            F.col("value"),
        )
    )
    counts = lines.mapInArrow(_count_splits, _SPLIT_SCHEMA).collect()
    records = misplaced = 0
    for _, splits in groupby(sorted(counts), key=lambda split: split.file):
        inside = False
        for split in splits:
            records += split.records_inside if inside else split.records_outside
            misplaced += split.misplaced_inside if inside else split.misplaced_outside
            inside ^= split.flips
        records -= 1  # the header
    return RecordCount(records, misplaced)


_SPLIT_SCHEMA = (
    "file long, start long, records_outside long, records_inside long, "
    "misplaced_outside long, misplaced_inside long, flips boolean"
)
_SPLIT_ARROW = pa.schema(
    {"file": pa.int64(), "start": pa.int64(), **dict.fromkeys(QuoteCounts._fields, pa.int64())}
    | {"flips": pa.bool_()}
)


def _count_splits(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield one row per split (file, start) with its QuoteCounts; batches arrive in order."""
    counts: dict[tuple[int, int], QuoteCounts] = {}
    for batch in batches:
        splits = zip(batch["file"].to_pylist(), batch["start"].to_pylist(), strict=True)
        first = 0
        for split, same in groupby(splits):
            lines = batch["value"].slice(first, len(list(same)))
            first += len(lines)
            counts[split] = add_lines(counts.get(split, QuoteCounts()), lines)
    rows = [
        {"file": file, "start": start, **count._asdict()} for (file, start), count in counts.items()
    ]
    yield pa.RecordBatch.from_pylist(rows, _SPLIT_ARROW)
