"""A baseline without notes: what the chart holds in fields already.

The stays and days of the last 12 months, the days since the last stay, the stay so far, admission
type and age, by logistic regression. Indices that hospitals use, such as LACE, count the same.
"""

from __future__ import annotations

from typing import Any

from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.notes.outcome import days_between
from readmit_spark.notes.windows import parse_window

_YEAR = 365.0  # days
_NUMBERS = ("stays", "days", "since", "so_far")
_CODES = ("admission_type", "age_band")


def structured() -> list[Any]:
    """Return the stages of a Spark ML pipeline: the columns of `structured_rows` to `features`."""
    indexed = [f"{name}_index" for name in _CODES]
    encoded = [f"{name}_code" for name in _CODES]
    return [
        # A value that no training admission has becomes one of its own.
        StringIndexer(inputCols=list(_CODES), outputCols=indexed, handleInvalid="keep"),
        OneHotEncoder(inputCols=indexed, outputCols=encoded),
        VectorAssembler(inputCols=[*_NUMBERS, *encoded], outputCol="features"),
    ]


def structured_rows(cohort: DataFrame, subgroups: DataFrame, chunks: DataFrame) -> DataFrame:
    """Return one row for each window and admission of `chunks`, with the input of `structured`.

    Only what is known at the end of the window counts. cohort, subgroups: tables of prepare.
    """
    admissions = chunks.groupBy("window", "hadm_id", "part").agg(
        F.first("subject_id").alias("subject_id"), F.first("label").alias("label")
    )
    history = past_stays(cohort)
    known = cohort.select("hadm_id", "duration_days").join(
        subgroups.select("hadm_id", *_CODES), "hadm_id"
    )
    return (
        admissions.join(history, "hadm_id")
        .join(known, "hadm_id")
        .select(
            "window",
            "subject_id",
            "hadm_id",
            F.lit(0).alias("chunk_index"),
            "label",
            "part",
            F.log1p("stays").alias("stays"),
            F.log1p("days").alias("days"),
            F.log1p("since").alias("since"),
            _stay_so_far(chunks).alias("so_far"),
            *_CODES,
        )
    )


def past_stays(cohort: DataFrame) -> DataFrame:
    """Return for each hadm_id the stays that ended in the 365 days before it: their number
    (`stays`), their `days`, and the days `since` the last end (365 without one)."""
    now = cohort.select("subject_id", "hadm_id", "admittime")
    past = cohort.select(
        "subject_id",
        F.col("hadm_id").alias("past_id"),
        F.col("dischtime").alias("ended"),
        "duration_days",
    )
    ago = days_between("ended", "admittime")
    earlier = F.col("past_id") != F.col("hadm_id")
    pairs = now.join(past, "subject_id").where(earlier & (ago >= 0) & (ago < _YEAR))
    counted = pairs.groupBy("hadm_id").agg(
        F.count(F.lit(1)).cast("double").alias("stays"),
        F.sum("duration_days").alias("days"),
        F.min(ago).alias("since"),
    )
    none: dict[str, bool | float | int | str] = {"stays": 0.0, "days": 0.0, "since": _YEAR}
    return now.select("hadm_id").join(counted, "hadm_id", "left").fillna(none)


def _stay_so_far(chunks: DataFrame) -> Column:
    """Return the days of the stay at the end of the window."""
    lengths = F.lit(None).cast("double")
    stay = F.coalesce("duration_days", F.lit(_YEAR))
    for row in chunks.select("window").distinct().collect():
        days = parse_window(row["window"]).days
        so_far = stay if days is None else F.least(stay, F.lit(float(days)))
        lengths = F.when(F.col("window") == row["window"], so_far).otherwise(lengths)
    return F.log1p(lengths)
