"""Reading ADMISSIONS and NOTEEVENTS as they come, with every oddity counted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError

ADMISSIONS = (
    "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
)  # fmt: skip
NOTES = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT",
)  # fmt: skip

_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T].*)?$"
_NO_SUCH_VALUE = "\u0000null"  # so that an empty text stays empty and only a missing one is null
_BROKEN = "_broken_record"


def read_admissions(spark: SparkSession, path: str) -> DataFrame:
    """ADMISSIONS: subject_id, hadm_id (long), admittime, dischtime, deathtime (timestamp or null
    where it does not parse), admission_type (trimmed, upper case); `*_unparsed` marks a time that
    was there and could not be read; `malformed` as in `read_notes`. One row a row of the source."""
    raw = _read(spark, path, ADMISSIONS, "data.admissions")
    return raw.select(
        _number(raw, "SUBJECT_ID"),
        _number(raw, "HADM_ID"),
        *(_time(raw, name) for name in ("ADMITTIME", "DISCHTIME", "DEATHTIME")),
        F.upper(F.trim("ADMISSION_TYPE")).alias("admission_type"),
        *(_unparsed(raw, name) for name in ("ADMITTIME", "DISCHTIME", "DEATHTIME")),
        "malformed",
    )


def read_notes(spark: SparkSession, path: str) -> DataFrame:
    """NOTEEVENTS: row_id, subject_id, hadm_id (long), chartdate (date), charttime (timestamp),
    category (trimmed, lower case), iserror (boolean), text, malformed (boolean: a CSV's row with
    more or fewer fields than the header). One row a row of the source."""
    raw = _read(spark, path, NOTES, "data.notes")
    is_error = F.trim(raw["ISERROR"].cast("string"))
    return raw.select(
        _number(raw, "ROW_ID"),
        _number(raw, "SUBJECT_ID"),
        _number(raw, "HADM_ID"),
        _date(raw, "CHARTDATE"),
        _time(raw, "CHARTTIME"),
        F.lower(F.trim("CATEGORY")).alias("category"),
        F.coalesce(is_error.isin("1", "1.0", "true"), F.lit(False)).alias("iserror"),
        # A byte sequence that is not UTF-8 becomes the replacement character here, not an error
        # in a Python worker.
        F.encode(raw["TEXT"], "UTF-8").cast("string").alias("text"),
        "malformed",
    )


def read_risks(spark: SparkSession, path: str) -> DataFrame:
    """The true risks of a generated cohort: hadm_id (long), risk (double)."""
    raw = _read(spark, path, ("HADM_ID", "RISK"), "data.truth")
    return raw.select(_number(raw, "HADM_ID"), raw["RISK"].cast("double").alias("risk"))


def expected_records(spark: SparkSession, path: str, key: str) -> int | None:
    """`count_records` of a CSV, None for Parquet. UserError where a file breaks off.

    To be asked before the table is parsed: what the CSV parser says of a file that breaks off
    quotes the text that came before.
    """
    if not is_csv(path):
        return None
    try:
        return count_records(spark, path)
    except (PySparkException, Py4JJavaError):
        raise UserError(f"{key}: {path} cannot be read to its end; is it whole?") from None


def check_records(path: str, key: str, expected: int | None, parsed: int, malformed: int) -> None:
    """UserError where the CSV parser found other records than the file has.

    An unclosed quote makes the parser swallow rows without a word. It shows in the number of
    records (`expected_records`), or, where a second one follows, in a row that has not the header's
    number of fields.
    """
    if malformed:
        raise UserError(
            f"{key}: {path} has {malformed:,} rows with more or fewer fields than its header: "
            "a quote is not closed or not doubled; nothing was written"
        )
    if expected is not None and expected != parsed:
        raise UserError(
            f"{key}: {path} has {expected:,} records by its quotes but {parsed:,} by the CSV "
            "parser: a quote is not closed or not doubled; nothing was written"
        )


def is_csv(path: str) -> bool:
    """True for `.csv` and `.csv.gz`; anything else is read as Parquet."""
    return path.lower().endswith((".csv", ".csv.gz"))


def count_records(spark: SparkSession, path: str) -> int:
    """Records of an RFC 4180 file (or folder of them), headers and blank lines not counted.

    Each split gives its count for both cases (it begins outside or inside quotes) and whether it
    flips the case; a file's splits are then put together in order.
    """
    lines = spark.read.text(path).select(
        F.xxhash64("_metadata.file_path").alias("file"),
        F.col("_metadata.file_block_start").alias("start"),
        F.col("value"),
    )
    parts = lines.mapInArrow(_count_splits, _SPLIT_SCHEMA).collect()
    total = 0
    for _, splits in groupby(sorted(parts), key=lambda part: part.file):
        inside = False
        for split in splits:
            total += split.inside if inside else split.outside
            inside ^= split.flips
        total -= 1
    return total


_SPLIT_SCHEMA = "file long, start long, outside long, inside long, flips boolean"


def _count_splits(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row a (file, start): the sums over its batches, which arrive in order."""
    counts: dict[tuple[int, int], list[int]] = {}
    for batch in batches:
        keys = list(zip(batch["file"].to_pylist(), batch["start"].to_pylist(), strict=True))
        quotes = pc.count_substring(batch["value"], '"').to_numpy(zero_copy_only=False)
        # A blank line ends no record; the last line of a quoted text has its quote.
        filled = pc.greater(pc.binary_length(batch["value"]), 0).to_numpy(zero_copy_only=False)
        first = 0
        for key, run in groupby(keys):
            last = first + len(list(run))
            outside, inside, odd = counts.setdefault(key, [0, 0, 0])
            parity = (odd + quotes[first:last].cumsum()) % 2
            even = int((filled[first:last] & (parity == 0)).sum())
            counts[key] = [outside + even, inside + int(filled[first:last].sum()) - even,
                           int(parity[-1])]  # fmt: skip
            first = last
    yield pa.RecordBatch.from_pydict(
        {
            "file": pa.array([file for file, _ in counts], pa.int64()),
            "start": pa.array([start for _, start in counts], pa.int64()),
            "outside": pa.array([c[0] for c in counts.values()], pa.int64()),
            "inside": pa.array([c[1] for c in counts.values()], pa.int64()),
            "flips": pa.array([c[2] == 1 for c in counts.values()], pa.bool_()),
        }
    )


def _read(spark: SparkSession, path: str, needed: Sequence[str], key: str) -> DataFrame:
    """The needed columns under their upper-case names, and `malformed`; UserError where one is
    missing."""
    try:
        frame = _csv(spark, path) if is_csv(path) else spark.read.parquet(path)
        names = {name.strip().upper(): name for name in frame.columns}
    except (PySparkException, Py4JJavaError) as error:
        reason = "does not exist" if "PATH_NOT_FOUND" in str(error) else "cannot be read"
        raise UserError(
            f"{key}: {path} {reason} (a .csv, .csv.gz or Parquet table is needed)"
        ) from None
    missing = [name for name in needed if name not in names]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_named(frame)}"
        )
    malformed = F.col(_BROKEN).isNotNull() if is_csv(path) else F.lit(False)
    return frame.select(
        *(F.col(f"`{names[name]}`").alias(name) for name in needed), malformed.alias("malformed")
    )


def _csv(spark: SparkSession, path: str) -> DataFrame:
    """All columns as text, and what of a row that has not the header's number of fields."""
    reader = spark.read.options(
        header=True,
        multiLine=True,
        escape='"',
        nullValue=_NO_SUCH_VALUE,
        columnNameOfCorruptRecord=_BROKEN,
    )
    header = reader.csv(path)
    if not header.columns:
        return header
    return reader.schema(header.schema.add(_BROKEN, T.StringType())).csv(path)


def _named(frame: DataFrame) -> str:
    """The columns' names; not the first row of a file without a header, which may be a note."""
    names = [name for name in frame.columns if name != _BROKEN]
    if not all(re.fullmatch(r"\w{1,40}", name.strip()) for name in names):
        return f"{len(names)} columns, but its first line is not a header"
    return ", ".join(names) or "none"


def _number(frame: DataFrame, name: str) -> Column:
    """Whole numbers, also as a data frame library writes them beside nulls (100001.0)."""
    text = F.trim(frame[name].cast("string"))
    whole = F.regexp_extract(text, r"^(\d{1,18})(\.0*)?$", 1)
    return F.when(whole != "", whole).cast("long").alias(name.lower())


def _time(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _TIME, T.TimestampType()).alias(name.lower())


def _date(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _DATE, T.DateType()).alias(name.lower())


def _parsed(frame: DataFrame, name: str, pattern: str, kind: T.DataType) -> Column:
    if isinstance(frame.schema[name].dataType, T.LongType):  # nanoseconds: see session.py
        return F.timestamp_micros((frame[name] / 1000).cast("long")).cast(kind)
    if not isinstance(frame.schema[name].dataType, T.StringType):
        return frame[name].cast(kind)
    text = F.trim(frame[name])
    # Matching first keeps Spark's lenient cast from reading "2101" as a date; try_ keeps a day 45
    # from being an error where ANSI mode is on.
    shaped = F.when(
        text.rlike(pattern), text if isinstance(kind, T.TimestampType) else F.substring(text, 1, 10)
    )
    return F.try_to_timestamp(shaped).cast(kind)


def _unparsed(frame: DataFrame, name: str) -> Column:
    there = F.trim(frame[name].cast("string")) != ""
    parsed = _parsed(frame, name, _TIME, T.TimestampType())
    return F.coalesce(there & parsed.isNull(), F.lit(False)).alias(f"{name.lower()}_unparsed")
