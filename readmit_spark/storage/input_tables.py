"""Reading ADMISSIONS and NOTEEVENTS as they come, with every oddity counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.storage.check_csv import is_csv, unreadable
from readmit_spark.storage.publish import has_result, manifest

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


def check_columns(names: Iterable[str], needed: Iterable[str], path: str, key: str) -> None:
    """UserError where a needed column is not among the `names`, in any case."""
    names = list(names)
    missing = [name for name in needed if name not in {n.strip().upper() for n in names}]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_named(names)}"
        )


def _read(
    spark: SparkSession, path: str, needed: Sequence[str], key: str, optional: Sequence[str] = ()
) -> DataFrame:
    """The needed columns under their upper-case names, and `malformed`; UserError where one is
    missing. An optional one that is missing is null."""
    try:
        frame = _csv(spark, path) if is_csv(path) else spark.read.parquet(_table(spark, path, key))
        names = {name.strip().upper(): name for name in frame.columns}
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable(path, key, error) from None
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
