"""Reading ADMISSIONS and NOTEEVENTS as they come, with every oddity counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.core.records import Tally, tally
from readmit_spark.errors import UserError
from readmit_spark.spark.files import Files
from readmit_spark.spark.publish import has_result, manifest

ADMISSIONS = (
    "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
)  # fmt: skip
NOTES = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT",
)  # fmt: skip
STORED = "STORETIME"  # when a note was saved: it is there from then on

_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T].*)?$"
_NO_SUCH_VALUE = "\u0000null"  # so that an empty text stays empty and only a missing one is null
_BROKEN = "_broken_record"
_LARGE = 256 << 20  # bytes


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
    storetime (timestamp; null where the table has no such column), category (trimmed, lower case),
    iserror (boolean), text, malformed (boolean: a CSV's row with more or fewer fields than the
    header). One row a row of the source."""
    raw = _read(spark, path, NOTES, "data.notes", optional=[STORED])
    is_error = F.trim(raw["ISERROR"].cast("string"))
    return raw.select(
        _number(raw, "ROW_ID"),
        _number(raw, "SUBJECT_ID"),
        _number(raw, "HADM_ID"),
        _date(raw, "CHARTDATE"),
        _time(raw, "CHARTTIME"),
        _time(raw, STORED),
        F.lower(F.trim("CATEGORY")).alias("category"),
        F.coalesce(is_error.isin("1", "1.0", "true"), F.lit(False)).alias("iserror"),
        # A byte sequence that is not UTF-8 becomes the replacement character here, not an error
        # in a Python worker.
        F.encode(raw["TEXT"], "UTF-8").cast("string").alias("text"),
        "malformed",
    )


def read_demographics(spark: SparkSession, path: str) -> DataFrame:
    """Of ADMISSIONS hadm_id, ethnicity and insurance (text; null where the table lacks them)."""
    raw = _read(spark, path, ("HADM_ID",), "data.admissions", ("ETHNICITY", "INSURANCE"))
    texts = (F.trim(name).alias(name.lower()) for name in ("ETHNICITY", "INSURANCE"))
    return raw.select(_number(raw, "HADM_ID"), *texts)


def read_patients(spark: SparkSession, path: str) -> DataFrame:
    """PATIENTS: subject_id (long), gender (F or M), dob (date or null)."""
    raw = _read(spark, path, ("SUBJECT_ID", "GENDER", "DOB"), "data.patients")
    gender = F.upper(F.trim("GENDER")).alias("gender")
    return raw.select(_number(raw, "SUBJECT_ID"), gender, _date(raw, "DOB"))


def read_risks(spark: SparkSession, path: str) -> DataFrame:
    """The true risks of a generated cohort: hadm_id (long), risk (double)."""
    raw = _read(spark, path, ("HADM_ID", "RISK"), "data.truth")
    return raw.select(_number(raw, "HADM_ID"), raw["RISK"].cast("double").alias("risk"))


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
        raise _unreadable(path, key, error) from None
    if records.broken:
        raise UserError(
            f"{key}: {path} has {records.broken:,} lines with a quote in the middle of a field: "
            "a quote is not closed or not doubled; nothing was written"
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
        "nothing was written"
    )


def check_columns(names: Iterable[str], needed: Iterable[str], path: str, key: str) -> None:
    """UserError where a needed column is not among the `names`, in any case."""
    names = list(names)
    missing = [name for name in needed if name not in {n.strip().upper() for n in names}]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_named(names)}"
        )


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


def _read(
    spark: SparkSession, path: str, needed: Sequence[str], key: str, optional: Sequence[str] = ()
) -> DataFrame:
    """The needed columns under their upper-case names, and `malformed`; UserError where one is
    missing. An optional one that is missing is null."""
    try:
        frame = _csv(spark, path) if is_csv(path) else spark.read.parquet(_table(spark, path, key))
        names = {name.strip().upper(): name for name in frame.columns}
    except (PySparkException, Py4JJavaError) as error:
        raise _unreadable(path, key, error) from None
    check_columns(frame.columns, needed, path, key)
    malformed = F.col(_BROKEN).isNotNull() if is_csv(path) else F.lit(False)
    return frame.select(
        *(F.col(f"`{names[name]}`").alias(name) for name in needed),
        *(
            (F.col(f"`{names[name]}`") if name in names else F.lit(None).cast("string")).alias(name)
            for name in optional
        ),
        malformed.alias("malformed"),
    )


def _table(spark: SparkSession, path: str, key: str) -> str:
    """`path`, or the table of that key where it is a folder that jobs/ingest.py published to."""
    if not has_result(spark, path, "ingest"):
        return path
    ingested = manifest(spark, path, "ingest")
    name = key.removeprefix("data.")
    if name not in ingested["tables"]:
        raise UserError(
            f"{key}: jobs/ingest.py made no table of {key} under {path} but of "
            f"{', '.join(ingested['tables'])}; run it with {key} set"
        )
    return f"{ingested['path']}/{name}"


def _unreadable(path: str, key: str, error: Exception) -> UserError:
    """Without what `error` says beside: that may be text."""
    if "PATH_NOT_FOUND" in str(error):
        return UserError(f"{key}: {path} does not exist")
    return UserError(
        f"{key}: {path} cannot be read to its end: a whole .csv, .csv.gz or Parquet table is needed"
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


def _named(columns: Iterable[str]) -> str:
    """The columns' names; not the first row of a file without a header, which may be a note."""
    names = [name for name in columns if name != _BROKEN]
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
