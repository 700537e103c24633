"""Read what the monitor needs of each stay: its first night in hospital, and its last score."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from readmit_spark.nightly.in_house import document_digests
from readmit_spark.nightly.published_nights import tables_of_nights
from readmit_spark.storage.manifests import Night

TABLES = ("patient_risk", "unscored", "notes", "chunks")  # the tables of a night that are read here
LAST_NEW_DAY = 2  # a stay is new on the day of admission and on the day after it
CATEGORY_SEPARATOR = " + "  # the page splits the categories of a stay again


def new_stays(spark: SparkSession, nights: Sequence[Night]) -> DataFrame:
    """Build night, hadm_id, score, n_notes, categories, n_tokens, n_tokens_cut, n_unknown: one row
    for each new stay, as of its first night.

    A stay is new if its first night is on its first or second day. Older stays, present before the
    first night or in a gap between nights, are left out: they have more notes than a new one.
    score and tokens are null if the night had none. categories: the distinct categories of the
    notes, sorted and joined.
    """
    risk = tables_of_nights(spark, nights, "patient_risk")
    unscored = tables_of_nights(spark, nights, "unscored")
    present = risk.select("night", "hadm_id", "day_of_stay", "score").unionByName(
        unscored.select("night", "hadm_id", "day_of_stay"), allowMissingColumns=True
    )
    first = F.row_number().over(Window.partitionBy("hadm_id").orderBy("night"))
    new = (
        present.withColumn("nth", first)
        .where((F.col("nth") == 1) & (F.col("day_of_stay") <= LAST_NEW_DAY))
        .drop("nth", "day_of_stay")
    )
    notes = tables_of_nights(spark, nights, "notes").join(
        new.select("night", "hadm_id"), ["night", "hadm_id"], "left_semi"
    )
    categories = notes.groupBy("hadm_id").agg(
        F.array_join(F.array_sort(F.collect_set("category")), CATEGORY_SEPARATOR).alias(
            "categories"
        )
    )
    documents = document_digests(notes).select("hadm_id", "n_notes", "document")
    tokens = (
        tables_of_nights(spark, nights, "chunks")
        .where(F.col("digest").isNotNull())
        .groupBy("night", "document")
        .agg(*(F.sum(name).alias(name) for name in ("n_tokens", "n_tokens_cut", "n_unknown")))
    )
    return (
        new.join(categories, "hadm_id", "left")
        .join(documents, "hadm_id", "left")
        .join(tokens, ["night", "document"], "left")
        .drop("document")
        .fillna({"n_notes": 0, "categories": ""})
    )


def last_scores(spark: SparkSession, nights: Sequence[Night]) -> DataFrame:
    """Build subject_id, hadm_id, basis, score, risk, alerted: the last score and risk of each stay
    and basis, and whether any night alerted it.

    The table `followed` of a night holds the same, until a patient is no longer followed.
    """
    risk = tables_of_nights(spark, nights, "patient_risk")
    return risk.groupBy("subject_id", "hadm_id", "basis").agg(
        F.max_by("score", "night").alias("score"),
        F.max_by("risk", "night").alias("risk"),
        F.max("alert").alias("alerted"),
    )
