"""Groups of admissions (sex, age, …) for metrics by subgroup."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

UNKNOWN = "unknown"
_BANDS = ((18, "under 18"), (45, "18 to 44"), (65, "45 to 64"), (80, "65 to 79"))
_OLDEST = "80 and over"  # MIMIC-III moves the births of those over 89 by centuries
# MIMIC-III has some forty texts ("WHITE - RUSSIAN"); the beginning decides the group.
_ETHNICITIES = (
    ("white", "WHITE|PORTUGUESE|MIDDLE EASTERN"),
    ("black", "BLACK|CARIBBEAN"),
    ("hispanic", "HISPANIC|SOUTH AMERICAN"),
    ("asian", "ASIAN"),
    (UNKNOWN, "UNKNOWN|UNABLE|PATIENT DECLINED|$"),
)


def subgroups_table(
    cohort: DataFrame, demographics: DataFrame, patients: DataFrame | None
) -> DataFrame:
    """Build hadm_id, sex, age_band, ethnicity, insurance, admission_type: one row per admission.

    A missing value is "unknown". demographics: from `read_demographics`. patients: from
    `read_patients`; without it, sex and age are unknown.
    """
    admissions = cohort.select("subject_id", "hadm_id", "admittime", "admission_type").join(
        demographics.dropDuplicates(["hadm_id"]), "hadm_id", "left"
    )
    if patients is None:
        people = admissions.withColumn("gender", F.lit(None)).withColumn(
            "dob", F.lit(None).cast("date")
        )
    else:
        people = admissions.join(patients.dropDuplicates(["subject_id"]), "subject_id", "left")
    sex = F.when(F.col("gender") == "F", "female").when(F.col("gender") == "M", "male")
    return people.select(
        "hadm_id",
        _or_unknown(sex).alias("sex"),
        _or_unknown(_age_band()).alias("age_band"),
        _ethnicity().alias("ethnicity"),
        _or_unknown(F.lower("insurance")).alias("insurance"),
        _or_unknown(F.lower("admission_type")).alias("admission_type"),
    )


def _age_band() -> Column:
    years = F.months_between(F.to_date("admittime"), "dob") / 12
    band = F.when(years.isNull() | (years < 0), None)
    for below, name in _BANDS:
        band = band.when(years < below, name)
    return band.otherwise(_OLDEST)


def _ethnicity() -> Column:
    text = F.upper(F.trim(F.coalesce("ethnicity", F.lit(""))))
    group = F.when(F.lit(False), None)
    for name, beginnings in _ETHNICITIES:
        group = group.when(text.rlike(f"^({beginnings})"), name)
    return group.otherwise("other")


def _or_unknown(value: Column) -> Column:
    return F.coalesce(value, F.lit(UNKNOWN))
