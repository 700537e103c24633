"""Read MIMIC-III's tables from CSV or Parquet into typed columns.

Unreadable values become null and are marked where they matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.storage.check_csv import is_csv, unreadable_error
from readmit_spark.storage.publish import has_result, read_manifest

ADMISSIONS = (
    "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
)  # fmt: skip
NOTES = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT",
)  # fmt: skip
_STORED = "STORETIME"  # optional: when a note was saved, and so became readable

_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T].*)?$"
# Spark reads this value as null. It never occurs, so that `""` stays an empty text.
_NULL_VALUE = "\u0000null"
_MALFORMED = "_malformed_record"


def read_admissions(spark: SparkSession, path: str) -> DataFrame:
    """Read ADMISSIONS, one row per source row.

    Columns: subject_id, hadm_id (long); admittime, dischtime, deathtime (timestamp, null if
    unreadable); admission_type (trimmed, upper case); admittime_unparsed, dischtime_unparsed,
    deathtime_unparsed (boolean: the source has a value that is unreadable); malformed (boolean: a
    CSV row with more or fewer fields than the header).
    """
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
    """Read NOTEEVENTS, one row per source row.

    Columns: row_id, subject_id, hadm_id (long); chartdate (date); charttime (timestamp); storetime
    (timestamp, null if the table has no such column); category (trimmed, lower case); iserror
    (boolean); text; malformed (boolean: a CSV row with more or fewer fields than the header).
    """
    raw = _read(spark, path, NOTES, "data.notes", optional=[_STORED])
    is_error = F.trim(raw["ISERROR"].cast("string"))
    return raw.select(
        _number(raw, "ROW_ID"),
        _number(raw, "SUBJECT_ID"),
        _number(raw, "HADM_ID"),
        _date(raw, "CHARTDATE"),
        _time(raw, "CHARTTIME"),
        _time(raw, _STORED),
        F.lower(F.trim("CATEGORY")).alias("category"),
        F.coalesce(is_error.isin("1", "1.0", "true"), F.lit(False)).alias("iserror"),
        # Bytes that are not UTF-8 become replacement characters; otherwise a Python worker would
        # fail on them.
        F.encode(raw["TEXT"], "UTF-8").cast("string").alias("text"),
        "malformed",
    )


def read_demographics(spark: SparkSession, path: str) -> DataFrame:
    """Read hadm_id (long), ethnicity and insurance (text or null) of ADMISSIONS."""
    raw = _read(spark, path, ("HADM_ID",), "data.admissions", ("ETHNICITY", "INSURANCE"))
    texts = (F.trim(name).alias(name.lower()) for name in ("ETHNICITY", "INSURANCE"))
    return raw.select(_number(raw, "HADM_ID"), *texts)


def read_patients(spark: SparkSession, path: str) -> DataFrame:
    """Read subject_id (long), gender (F or M) and dob (date or null) of PATIENTS."""
    raw = _read(spark, path, ("SUBJECT_ID", "GENDER", "DOB"), "data.patients")
    gender = F.upper(F.trim("GENDER")).alias("gender")
    return raw.select(_number(raw, "SUBJECT_ID"), gender, _date(raw, "DOB"))


def read_true_risks(spark: SparkSession, path: str | None) -> dict[int, float] | None:
    """HADM_ID -> true risk of a synthetic cohort; None where `path` is None."""
    if path is None:
        return None
    raw = _read(spark, path, ("HADM_ID", "RISK"), "data.truth")
    rows = raw.select(_number(raw, "HADM_ID"), raw["RISK"].cast("double").alias("risk"))
    return {row.hadm_id: row.risk for row in rows.collect()}


def check_columns(names: Iterable[str], needed: Iterable[str], path: str, key: str) -> None:
    """Raise a UserError if a needed column is not among `names`, ignoring case."""
    names = list(names)
    missing = [name for name in needed if name not in {n.strip().upper() for n in names}]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_list_columns(names)}"
        )


def _read(
    spark: SparkSession, path: str, needed: Sequence[str], key: str, optional: Sequence[str] = ()
) -> DataFrame:
    """Read the needed and optional columns under upper-case names, and `malformed`.

    A missing optional column is null. Raise a UserError if a needed column is missing.
    """
    try:
        frame = (
            _csv(spark, path) if is_csv(path) else spark.read.parquet(_table_path(spark, path, key))
        )
        names = {name.strip().upper(): name for name in frame.columns}
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable_error(path, key, error) from None
    check_columns(frame.columns, needed, path, key)
    malformed = F.col(_MALFORMED).isNotNull() if is_csv(path) else F.lit(False)
    return frame.select(
        *(F.col(f"`{names[name]}`").alias(name) for name in needed),
        *(
            (F.col(f"`{names[name]}`") if name in names else F.lit(None).cast("string")).alias(name)
            for name in optional
        ),
        malformed.alias("malformed"),
    )


def _table_path(spark: SparkSession, path: str, key: str) -> str:
    """Return `path`, or the path of the key's table if jobs/ingest.py published to `path`."""
    if not has_result(spark, path, "ingest"):
        return path
    ingested = read_manifest(spark, path, "ingest")
    name = key.removeprefix("data.")
    if name not in ingested["tables"]:
        raise UserError(
            f"{key}: jobs/ingest.py wrote no table of {key} under {path}, only of "
            f"{', '.join(ingested['tables'])}; run it with {key} set"
        )
    return f"{ingested['path']}/{name}"


def _csv(spark: SparkSession, path: str) -> DataFrame:
    """Read all columns as text, and rows with a wrong number of fields into _MALFORMED."""
    reader = spark.read.options(
        header=True,
        multiLine=True,
        escape='"',
        nullValue=_NULL_VALUE,
        columnNameOfCorruptRecord=_MALFORMED,
    )
    header = reader.csv(path)
    if not header.columns:
        return header
    return reader.schema(header.schema.add(_MALFORMED, T.StringType())).csv(path)


def _list_columns(columns: Iterable[str]) -> str:
    """Return the column names for a message, unless they may be text of a note."""
    names = [name for name in columns if name != _MALFORMED]
    if not all(re.fullmatch(r"\w{1,40}", name.strip()) for name in names):
        return f"{len(names)} columns, but its first line is not a header"
    return ", ".join(names) or "none"


def _number(frame: DataFrame, name: str) -> Column:
    """Parse a whole number, also one written as 100001.0, as pandas does in columns with nulls."""
    text = F.trim(frame[name].cast("string"))
    digits = F.regexp_extract(text, r"^(\d{1,18})(\.0*)?$", 1)
    return F.when(digits != "", digits).cast("long").alias(name.lower())


def _time(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _TIME, T.TimestampType()).alias(name.lower())


def _date(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _DATE, T.DateType()).alias(name.lower())


def _parsed(frame: DataFrame, name: str, pattern: str, kind: T.DataType) -> Column:
    if isinstance(frame.schema[name].dataType, T.LongType):  # nanoseconds, see session.py
        return F.timestamp_micros((frame[name] / 1000).cast("long")).cast(kind)
    if not isinstance(frame.schema[name].dataType, T.StringType):
        return frame[name].cast(kind)
    text = F.trim(frame[name])
    # The pattern is needed because Spark's cast would also read "2101" as a date. try_ is needed
    # because in ANSI mode an impossible day, such as the 45th, would be an error.
    matching = F.when(
        text.rlike(pattern), text if isinstance(kind, T.TimestampType) else F.substring(text, 1, 10)
    )
    return F.try_to_timestamp(matching).cast(kind)


def _unparsed(frame: DataFrame, name: str) -> Column:
    has_value = F.trim(frame[name].cast("string")) != ""
    parsed = _parsed(frame, name, _TIME, T.TimestampType())
    return F.coalesce(has_value & parsed.isNull(), F.lit(False)).alias(f"{name.lower()}_unparsed")
