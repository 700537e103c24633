"""MIMIC-IV (`hosp/`) with MIMIC-IV-Note (`note/`).

Planned and unplanned: mimic-code discussion 1215.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.storage.column_values import folded_column
from readmit_spark.storage.formats.shape import (
    SOURCE_ROWS,
    Coded,
    Format,
    Raw,
    SourceTable,
    first_reason,
    kept,
    meaning,
    nothing,
)
from readmit_spark.storage.stay_facts import disposition

_OBSERVATION = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
_PLANNED = "ELECTIVE"
TYPES = {
    "EW EMER.": "EMERGENCY",
    "DIRECT EMER.": "EMERGENCY",
    "URGENT": "URGENT",
    "OBSERVATION ADMIT": "URGENT",
    "EU OBSERVATION": "EMERGENCY",
    "DIRECT OBSERVATION": "URGENT",
    "AMBULATORY OBSERVATION": "URGENT",
    "ELECTIVE": _PLANNED,
    "SURGICAL SAME DAY ADMISSION": _PLANNED,
}
_CATEGORIES = {
    "DS": "Discharge summary",
    "AD": "Discharge summary",
    "RR": "Radiology",
    "AR": "Radiology",
}
_SUMMARY, _ADDENDUM = "DS", "AD"
_MIDNIGHT = " 00:00:00"
_DIGITS = 5  # of NOTE_SEQ in ROW_ID; it is a smallint

_NOTE = ("NOTE_ID", "SUBJECT_ID", "HADM_ID", "NOTE_TYPE", "NOTE_SEQ", "CHARTTIME", "STORETIME")
_SOURCES = {
    "admissions": SourceTable(
        "hosp/admissions",
        ("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
         "HOSPITAL_EXPIRE_FLAG"),
        ("RACE", "ETHNICITY", "INSURANCE", "DISCHARGE_LOCATION"),
    ),
    "patients": SourceTable(
        "hosp/patients", ("SUBJECT_ID", "GENDER", "ANCHOR_AGE", "ANCHOR_YEAR"), ("DOD",)
    ),
    "discharge": SourceTable("note/discharge", (*_NOTE, "TEXT")),
    "radiology": SourceTable("note/radiology", (*_NOTE, "TEXT"), required=False),
}  # fmt: skip


def _coded(raw: Raw) -> Iterable[Coded]:
    yield Coded(
        raw["admissions"],
        raw["admissions"]["ADMISSION_TYPE"],
        TYPES,
        "data.folder: ADMISSION_TYPE of hosp/admissions",
    )
    for name in ("discharge", "radiology"):
        if name in raw:
            where = f"data.folder: NOTE_TYPE of note/{name}"
            yield Coded(raw[name], raw[name]["NOTE_TYPE"], _CATEGORIES, where)


def _select(raw: Raw, config: Config) -> dict[str, DataFrame]:
    rows = joined_addenda(raw["discharge"])
    if "radiology" in raw:
        rows = rows.unionByName(raw["radiology"].withColumn(SOURCE_ROWS, F.lit(1).cast("long")))
    return {
        "admissions": admissions(raw["admissions"], raw["patients"]),
        "notes": notes(rows),
        "patients": patients(raw["patients"]),
    }


def admissions(raw: DataFrame, people: DataFrame) -> DataFrame:
    """Select ADMISSIONS. A death in hospital without a time is one at the end of the stay.

    people: MIMIC-IV's patients.
    """
    died = F.col("HOSPITAL_EXPIRE_FLAG") == "1"
    observation = meaning(F.col("ADMISSION_TYPE"), dict.fromkeys(_OBSERVATION, "observation"))
    kind = meaning(F.col("ADMISSION_TYPE"), TYPES)
    days = people.groupBy("SUBJECT_ID").agg(F.min("DOD").alias("DIED"))
    return raw.join(days, "SUBJECT_ID", "left").select(
        "SUBJECT_ID",
        "HADM_ID",
        "ADMITTIME",
        "DISCHTIME",
        F.coalesce("DEATHTIME", F.when(died, F.col("DISCHTIME"))).alias("DEATHTIME"),
        kind.alias("ADMISSION_TYPE"),
        F.coalesce("RACE", "ETHNICITY").alias("ETHNICITY"),
        "INSURANCE",
        F.when(kind == _PLANNED, "yes").when(kind.isNotNull(), "no").alias("PLANNED"),
        nothing("NEWBORN"),
        F.coalesce(observation, F.lit("inpatient")).alias("STAY"),
        disposition(folded_column(F.col("DISCHARGE_LOCATION"))).alias("DISCHARGE_TO"),
        "DIED",
        kept(),
    )


def joined_addenda(raw: DataFrame) -> DataFrame:
    """Join the addenda of an admission to the discharge summary before them.

    The note has the ids and CHARTTIME of the summary and the last STORETIME. An addendum without a
    summary before it stays alone.
    """
    is_summary = F.upper("NOTE_TYPE") == _SUMMARY
    number = F.expr("try_cast(NOTE_SEQ AS int)")
    place = (F.col("CHARTTIME"), ~is_summary, number)
    in_order = Window.partitionBy("SUBJECT_ID", "HADM_ID").orderBy(*place)
    numbered = raw.withColumn("SUMMARY", F.sum(is_summary.cast("int")).over(in_order))
    alone = F.col("SUMMARY") == 0
    grouped = numbered.groupBy(
        "SUBJECT_ID", "HADM_ID", "SUMMARY", F.when(alone, F.col("NOTE_ID")).alias("ALONE")
    )
    parts = F.array_sort(
        F.collect_list(
            F.struct(
                F.col("CHARTTIME"), (~is_summary).alias("LATER"),
                number.alias("NUMBER"),
                "NOTE_ID", "NOTE_TYPE", "NOTE_SEQ", "TEXT",
            )
        )
    )  # fmt: skip
    joined = grouped.agg(
        parts.alias("PARTS"),
        F.max("STORETIME").alias("STORETIME"),
        F.count(F.lit(1)).alias(SOURCE_ROWS),
    )
    first = F.col("PARTS")[0]
    return joined.select(
        *(first[name].alias(name) for name in ("NOTE_ID", "NOTE_TYPE", "NOTE_SEQ", "CHARTTIME")),
        "SUBJECT_ID",
        "HADM_ID",
        "STORETIME",
        F.concat_ws("\n", F.col("PARTS")["TEXT"]).alias("TEXT"),
        SOURCE_ROWS,
    )


def notes(raw: DataFrame) -> DataFrame:
    """Select NOTEEVENTS. CHARTTIME of a summary is a day, written as its midnight."""
    is_summary = F.upper("NOTE_TYPE").isin(_SUMMARY, _ADDENDUM)
    is_day = is_summary & F.col("CHARTTIME").endswith(_MIDNIGHT)
    return raw.select(
        row_id().alias("ROW_ID"),
        "SUBJECT_ID",
        "HADM_ID",
        F.substring("CHARTTIME", 1, 10).alias("CHARTDATE"),
        F.when(~is_day, F.col("CHARTTIME")).alias("CHARTTIME"),
        "STORETIME",
        meaning(raw["NOTE_TYPE"], dict(_CATEGORIES)).alias("CATEGORY"),
        nothing("DESCRIPTION"),
        nothing("ISERROR"),
        "TEXT",
        SOURCE_ROWS,
        first_reason({"addendum_without_summary": F.upper("NOTE_TYPE") == _ADDENDUM}),
    )


def row_id() -> Column:
    """Return a number for NOTE_ID: the subject, the type, and the number of five digits."""
    kind = meaning(F.col("NOTE_TYPE"), {name: str(i) for i, name in enumerate(_CATEGORIES)})
    number = F.when(F.length("NOTE_SEQ") <= _DIGITS, F.lpad("NOTE_SEQ", _DIGITS, "0"))
    return F.concat("SUBJECT_ID", kind, number)


def patients(raw: DataFrame) -> DataFrame:
    """Select PATIENTS. DOB is the first day of the year that ANCHOR_AGE gives."""
    year = F.expr("try_cast(ANCHOR_YEAR AS int) - try_cast(ANCHOR_AGE AS int)")
    return raw.select(
        "SUBJECT_ID",
        "GENDER",
        F.concat(year.cast("string"), F.lit("-01-01")).alias("DOB"),
        "DOD",
        kept(),
    )


MIMIC4 = Format(
    "mimic4",
    _SOURCES,
    {
        "admissions": ("admissions",),
        "notes": ("discharge", "radiology"),
        "patients": ("patients",),
    },
    _coded,
    _select,
)
