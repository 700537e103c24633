"""Read MIMIC-III's tables from CSV or Parquet into typed columns.

Unreadable values become null and are marked where they matter.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.storage.ids import whole_number
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.table_source import read_columns

ADMISSIONS = (
    "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
)  # fmt: skip
NOTES = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT",
)  # fmt: skip
PATIENTS = ("SUBJECT_ID", "GENDER", "DOB")
_STORED = "STORETIME"  # optional: when a note was saved, and so became readable

_TIME = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T].*)?$"


def read_admissions(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read ADMISSIONS, one row per source row.

    Columns: subject_id, hadm_id (long); admittime, dischtime, deathtime (timestamp, null if
    unreadable); admission_type (trimmed, upper case); admittime_unparsed, dischtime_unparsed,
    deathtime_unparsed (boolean: the source has a value that is unreadable); malformed (boolean: a
    CSV row with more or fewer fields than the header).
    """
    raw = read_columns(spark, path, "data.admissions", ADMISSIONS, reading=reading)
    return raw.select(
        _number(raw, "SUBJECT_ID"),
        _number(raw, "HADM_ID"),
        *(_time(raw, name) for name in ("ADMITTIME", "DISCHTIME", "DEATHTIME")),
        F.upper(F.trim("ADMISSION_TYPE")).alias("admission_type"),
        *(_unparsed(raw, name) for name in ("ADMITTIME", "DISCHTIME", "DEATHTIME")),
        "malformed",
    )


def read_notes(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read NOTEEVENTS, one row per source row.

    Columns: row_id, subject_id, hadm_id (long); chartdate (date); charttime (timestamp); storetime
    (timestamp, null if the table has no such column); category (trimmed, lower case); iserror
    (boolean); text; malformed (boolean: a CSV row with more or fewer fields than the header).
    """
    raw = read_columns(spark, path, "data.notes", NOTES, optional=[_STORED], reading=reading)
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


def read_demographics(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read hadm_id (long), ethnicity and insurance (text or null) of ADMISSIONS."""
    optional = ("ETHNICITY", "INSURANCE")
    raw = read_columns(spark, path, "data.admissions", ("HADM_ID",), optional, reading)
    texts = (F.trim(name).alias(name.lower()) for name in optional)
    return raw.select(_number(raw, "HADM_ID"), *texts)


def read_patients(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read subject_id (long), gender (F or M) and dob (date or null) of PATIENTS."""
    raw = read_columns(spark, path, "data.patients", PATIENTS, reading=reading)
    gender = F.upper(F.trim("GENDER")).alias("gender")
    return raw.select(_number(raw, "SUBJECT_ID"), gender, _date(raw, "DOB"))


def read_true_risks(spark: SparkSession, path: str | None) -> dict[int, float] | None:
    """HADM_ID -> true risk of a synthetic cohort; None where `path` is None."""
    if path is None:
        return None
    raw = read_columns(spark, path, "data.truth", ("HADM_ID", "RISK"))
    rows = raw.select(_number(raw, "HADM_ID"), raw["RISK"].cast("double").alias("risk"))
    return {row.hadm_id: row.risk for row in rows.collect()}


def _number(frame: DataFrame, name: str) -> Column:
    return whole_number(frame, name).alias(name.lower())


def _time(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _TIME, T.TimestampType()).alias(name.lower())


def _date(frame: DataFrame, name: str) -> Column:
    return _parsed(frame, name, _DATE, T.DateType()).alias(name.lower())


def _parsed(frame: DataFrame, name: str, pattern: str, kind: T.DataType) -> Column:
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
