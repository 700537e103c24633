"""Who the admissions are: the groups that a model's figures are told apart by."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

UNKNOWN = "unknown"
_BANDS = ((18, "under 18"), (45, "18 to 44"), (65, "45 to 64"), (80, "65 to 79"))
_OLDEST = "80 and over"  # MIMIC-III moves the births of those over 89 by centuries
# MIMIC-III has some forty texts ("WHITE - RUSSIAN"); each is told by how it begins.
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
    """hadm_id, sex, age_band, ethnicity, insurance, admission_type: one row an admission of
    `cohort`; what is not known is "unknown".

    demographics: of `tables.read_demographics`. patients: of `tables.read_patients`; without them
    nobody's sex and age are known.
    """
    people = demographics.dropDuplicates(["hadm_id"])
    known = cohort.select("subject_id", "hadm_id", "admittime", "admission_type").join(
        people, "hadm_id", "left"
    )
    if patients is None:
        born = known.withColumn("gender", F.lit(None)).withColumn("dob", F.lit(None).cast("date"))
    else:
        born = known.join(patients.dropDuplicates(["subject_id"]), "subject_id", "left")
    sex = F.when(F.col("gender") == "F", "female").when(F.col("gender") == "M", "male")
    return born.select(
        "hadm_id",
        _known(sex).alias("sex"),
        _known(_age_band()).alias("age_band"),
        _ethnicity().alias("ethnicity"),
        _known(F.lower("insurance")).alias("insurance"),
        _known(F.lower("admission_type")).alias("admission_type"),
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


def _known(value: Column) -> Column:
    return F.coalesce(value, F.lit(UNKNOWN))
