"""Read MIMIC-III's tables from CSV or Parquet into typed columns.

Values that are not understood become null and are marked in the column `unread`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.storage import stay_facts
from readmit_spark.storage.codes import is_one_of
from readmit_spark.storage.column_values import Kind, code, id_texts, parse_columns
from readmit_spark.storage.parquet_columns import IDS, Reading
from readmit_spark.storage.table_source import read_columns

ADMISSIONS = (
    "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
)  # fmt: skip
NOTES = (
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR", "TEXT",
)  # fmt: skip
PATIENTS = ("SUBJECT_ID", "GENDER", "DOB")
_STORED = "STORETIME"  # optional: when a note was saved, and so became readable
_DESCRIPTION = "DESCRIPTION"  # optional: `Addendum` marks an addendum to a discharge summary


def read_admissions(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read ADMISSIONS, one row per source row.

    Columns: subject_id, hadm_id (long); admittime, dischtime, deathtime (timestamp);
    admission_type (upper case, single blanks); planned, newborn, stay, discharge_to (text) and died
    (date), see `stay_facts.py`; unread (a boolean for each of the columns but admission_type: the
    source has a value that is not understood, so the column is null);
    placeholder (a boolean for dischtime and deathtime: a year after 2299, so the column is null);
    malformed (boolean: a CSV row with more or fewer fields than the header).
    """
    raw = read_columns(spark, path, "data.admissions", ADMISSIONS, stay_facts.OPTIONAL, reading)
    strange = stay_facts.not_understood(raw)
    rows = parse_columns(
        raw,
        {
            "SUBJECT_ID": _id_kind(reading),
            "HADM_ID": _id_kind(reading),
            "ADMITTIME": "time",
            "DISCHTIME": "end_time",
            "DEATHTIME": "end_time",
            "DIED": "date",
        },
        code(raw, "ADMISSION_TYPE").alias("admission_type"),
        *(value.alias(name) for name, value in stay_facts.stay_facts(raw).items()),
        F.struct(*(found.alias(name) for name, found in strange.items())).alias("strange"),
        raw["malformed"],
        time_zone=_zone(reading),
    )
    unread = F.col("unread")
    for name in strange:
        unread = unread.withField(name, F.col("strange")[name])
    return rows.withColumn("unread", unread).drop("strange")


def read_notes(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read NOTEEVENTS, one row per source row.

    Columns: row_id, subject_id, hadm_id (long); chartdate (date); charttime, storetime (timestamp;
    storetime is null if the table has no such column); iserror (boolean; true also where the source
    has a value that is not understood); with `Reading.note_line` line (long); category (lower case,
    single blanks); addendum (boolean: DESCRIPTION is `Addendum`); text; unread (a boolean for each
    of the columns before category: the source has
    a value that is not understood); malformed (boolean: a CSV row with more or fewer fields than
    the header).
    """
    raw = _with_line(spark, path, reading)
    # Bytes that are not UTF-8 become replacement characters; otherwise a Python worker would fail
    # on them.
    text = F.encode(raw["TEXT"], "UTF-8").cast("string")
    notes = parse_columns(
        raw,
        {
            "ROW_ID": _id_kind(reading),
            "SUBJECT_ID": _id_kind(reading),
            "HADM_ID": _id_kind(reading),
            "CHARTDATE": "date",
            "CHARTTIME": "note_time",
            _STORED: "note_time",
            "ISERROR": "flag",
            **({"LINE": "id"} if "LINE" in raw.columns else {}),
        },
        F.lower(code(raw, "CATEGORY")).alias("category"),
        is_one_of(code(raw, _DESCRIPTION), ["addendum"]).alias("addendum"),
        text.alias("text"),
        raw["malformed"],
        time_zone=_zone(reading),
    )
    # A mark that is not understood is a mark all the same.
    marked = F.coalesce("iserror", F.when(F.col("unread.iserror"), True))
    return notes.withColumn("iserror", marked)


def _with_line(spark: SparkSession, path: str, reading: Reading | None) -> DataFrame:
    """Read the columns of NOTES, and with `Reading.note_line` that column as LINE."""
    line = reading.note_line.strip().upper() if reading and reading.note_line else None
    if line in (*NOTES, _STORED):
        raise UserError(f"data.note_line: {line} is no column that numbers the lines of a note")
    needed = (*NOTES, line) if line else NOTES
    raw = read_columns(spark, path, "data.notes", needed, [_STORED, _DESCRIPTION], reading)
    return raw.withColumnRenamed(line, "LINE") if line else raw


def read_demographics(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read hadm_id (long), ethnicity and insurance (text or null) of ADMISSIONS."""
    optional = ("ETHNICITY", "INSURANCE")
    raw = read_columns(spark, path, "data.admissions", ("HADM_ID",), optional, reading)
    codes = (code(raw, name).alias(name.lower()) for name in optional)
    return parse_columns(raw, {"HADM_ID": _id_kind(reading)}, *codes).drop("unread")


def read_sites(spark: SparkSession, config: Config) -> DataFrame:
    """Read hadm_id and site (lower case, or null) of ADMISSIONS, each hadm_id once.

    UserError if the table has no `split.site_column`.
    """
    path = required(config.data.admissions, "data.admissions")
    column = required(config.split.site_column, "split.site_column").upper()
    reading = Reading.of(config)
    raw = read_columns(spark, path, "data.admissions", ("HADM_ID", column), reading=reading)
    site = F.lower(code(raw, column)).alias("site")
    rows = parse_columns(raw, {"HADM_ID": _id_kind(reading)}, site).drop("unread")
    return rows.dropDuplicates(["hadm_id"])


def read_texts(
    spark: SparkSession, config: Config, key: str, path: str | None, columns: Sequence[str]
) -> DataFrame:
    """Read hadm_id and these columns as text without outer blanks, under the names given.

    UserError if the table at `path` lacks one. Rows without a HADM_ID are left out.
    """
    upper = {name: name.strip().upper() for name in columns}
    reading = Reading.of(config)
    raw = read_columns(
        spark, required(path, key), key, ("HADM_ID", *upper.values()), reading=reading
    )
    texts = (F.trim(raw[name].cast("string")).alias(shown) for shown, name in upper.items())
    rows = parse_columns(raw, {"HADM_ID": _id_kind(reading)}, *texts).drop("unread")
    return rows.where("hadm_id is not null")


def read_patients(spark: SparkSession, path: str, reading: Reading | None = None) -> DataFrame:
    """Read PATIENTS, one row per source row.

    Columns: subject_id (long); dob, dod (date; dod, the day of death, is null if the table has no
    such column); gender (F or M); unread (a boolean for each of the columns before gender: the
    source has a value that is not understood).
    """
    raw = read_columns(spark, path, "data.patients", PATIENTS, ("DOD",), reading)
    return parse_columns(
        raw,
        {"SUBJECT_ID": _id_kind(reading), "DOB": "birth_date", "DOD": "date"},
        code(raw, "GENDER").alias("gender"),
        time_zone=_zone(reading),
    )


def read_id_texts(spark: SparkSession, config: Config) -> DataFrame:
    """Build id, text: every id of data.admissions, data.notes and data.patients once."""
    columns = {"admissions": ADMISSIONS, "notes": NOTES, "patients": PATIENTS}
    tables = []
    for name, needed in columns.items():
        path = getattr(config.data, name)
        if path:
            ids = [column for column in needed if column in IDS]
            raw = read_columns(spark, path, f"data.{name}", ids, reading=Reading.of(config))
            tables.append(id_texts(raw, ids))
    return reduce(DataFrame.unionByName, tables).distinct()


def read_true_risks(
    spark: SparkSession, config: Config, cohort: DataFrame, windows: Sequence[str]
) -> dict[str, dict[int, float]] | None:
    """Window -> HADM_ID -> true risk of a synthetic cohort; None where data.truth is not set.

    The risk in a window such as 2days is in the column RISK_2DAYS: the mean risk of all admissions
    whose notes in the window say the same. Without that column it is RISK, the risk of the
    admission itself. cohort: hadm_id, admittime. Raise a UserError if the admissions are those of
    another cohort: ids of two hospitals are often the same, and risks of other patients would be
    shown as true.
    """
    path, reading = config.data.truth, Reading.of(config)
    if path is None:
        return None
    columns = ("HADM_ID", "ADMITTIME", "RISK")
    in_window = {window: f"RISK_{window.upper()}" for window in windows}
    raw = read_columns(
        spark, path, "data.truth", columns, tuple(in_window.values()), reading=reading
    )
    risks = [
        F.coalesce(raw[column].cast("double"), raw["RISK"].cast("double")).alias(window)
        for window, column in in_window.items()
    ]
    kinds: dict[str, Kind] = {"HADM_ID": _id_kind(reading), "ADMITTIME": "time"}
    truth = parse_columns(raw, kinds, *risks, time_zone=_zone(reading))
    admitted = cohort.select("hadm_id", F.col("admittime").alias("in_cohort"))
    rows = truth.join(admitted, "hadm_id").collect()
    others = sum(row.admittime != row.in_cohort for row in rows)
    if others:
        raise UserError(
            f"data.truth: {others:,} of {len(rows):,} admissions of {path} have another ADMITTIME "
            "than in the prepared cohort, so these are other patients; set data.truth=null"
        )
    return {window: {row.hadm_id: row[window] for row in rows} for window in windows}


def read_scores(spark: SparkSession, config: Config, path: str) -> DataFrame:
    """Read hadm_id, score (double) and time of a CSV or Parquet of scores; other rows are left out.

    Columns of the file: HADM_ID, SCORE, TIME. UserError if no row has all three.
    """
    reading = Reading.of(config)
    raw = read_columns(
        spark, path, "compare.incumbents", ("HADM_ID", "SCORE", "TIME"), reading=reading
    )
    score = raw["SCORE"].cast("double").alias("score")
    kinds: dict[str, Kind] = {"HADM_ID": _id_kind(reading), "TIME": "time"}
    rows = parse_columns(raw, kinds, score, time_zone=_zone(reading))
    complete = rows.where("hadm_id is not null and time is not null and not isnan(score)")
    if not complete.where("score is not null").take(1):
        raise UserError(
            f"compare.incumbents: no row of {path} has a HADM_ID, a SCORE (a number) and a TIME"
        )
    return complete.where("score is not null").select("hadm_id", "score", "time")


def _id_kind(reading: Reading | None) -> Kind:
    return "text_id" if reading and reading.text_ids else "id"


def _zone(reading: Reading | None) -> str | None:
    return reading.time_zone if reading else None
