"""Groups of admissions (sex, age, …) for metrics by subgroup."""

from __future__ import annotations

from collections.abc import Sequence

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
_INSURANCES = ("medicare", "private", "medicaid", "government", "self pay")  # MIMIC-III's


def subgroups_table(
    cohort: DataFrame,
    demographics: DataFrame,
    patients: DataFrame | None,
    admission_types: Sequence[str],
    labelled: DataFrame,
) -> DataFrame:
    """Build hadm_id, sex, age_band, ethnicity, insurance, admission_type, discharge_to: one row per
    admission.

    A missing value is "unknown". One that is not known is "other": reports name the groups, also
    of a single admission, and any text may stand in a column. demographics: from
    `read_demographics`. patients: from `read_patients`; without it, sex and age are unknown.
    admission_types: the known ones, in lower case. labelled: hadm_id, discharge_to of all.
    """
    discharges = labelled.select("hadm_id", "discharge_to").where(F.col("hadm_id").isNotNull())
    admissions = cohort.select("subject_id", "hadm_id", "admittime", "admission_type").join(
        demographics.dropDuplicates(["hadm_id"]), "hadm_id", "left"
    )
    admissions = admissions.join(discharges, "hadm_id", "left")
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
        _one_of("insurance", _INSURANCES),
        _one_of("admission_type", admission_types),
        _or_unknown(F.regexp_replace("discharge_to", "_", " ")).alias("discharge_to"),
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


def _one_of(name: str, known: Sequence[str]) -> Column:
    value = F.lower(name)
    return _or_unknown(F.when(value.isin(*known), value).when(value != "", "other")).alias(name)


def _or_unknown(value: Column) -> Column:
    return F.coalesce(value, F.lit(UNKNOWN))
