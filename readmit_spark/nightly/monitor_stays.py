"""What the monitor reads of the published nights: each stay once, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from readmit_spark.nightly.in_house import document_digests, moment
from readmit_spark.nightly.published_nights import tables_of_nights
from readmit_spark.notes.cohort import DAY
from readmit_spark.storage.manifests import Night

TABLES = ("patient_risk", "unscored", "notes", "chunks")  # of each night, all that is read here
ENTERING = 2  # day of stay: on the day of admission or the one after, a stay is new in the house
BETWEEN = " + "  # categories of a stay, as the page takes them apart


def _columns(**kinds: DataType) -> StructType:
    return StructType([StructField(name, kind) for name, kind in kinds.items()])


_IDS = {"subject_id": LongType(), "hadm_id": LongType()}
_RISK = _columns(
    **_IDS, day_of_stay=IntegerType(), score=DoubleType(), alert=BooleanType(), basis=StringType()
)
_UNSCORED = _columns(**_IDS, day_of_stay=IntegerType())
_NOTES = _columns(
    **_IDS, row_id=LongType(), category=StringType(), chartdate=DateType(),
    charttime=TimestampType(), digest=StringType(),
)  # fmt: skip
_CHUNKS = _columns(
    document=StringType(), digest=StringType(), n_tokens=IntegerType(),
    n_tokens_cut=IntegerType(), n_unknown=IntegerType(),
)  # fmt: skip


def new_stays(spark: SparkSession, nights: Sequence[Night]) -> DataFrame:
    """night, hadm_id, score, n_notes, categories, n_tokens, n_tokens_cut, n_unknown: each stay on
    the first of these nights on which it was in the house, if that was its first or second day.

    score and tokens are null of a stay that had none then. categories: those of its notes, each
    once, in order. Stays that were there before the first night, or came in a gap between nights,
    are left out: they have more notes than a new one.
    """
    risk = tables_of_nights(spark, nights, "patient_risk", _RISK)
    unscored = tables_of_nights(spark, nights, "unscored", _UNSCORED)
    there = risk.select("night", "hadm_id", "day_of_stay", "score").unionByName(
        unscored.select("night", "hadm_id", "day_of_stay"), allowMissingColumns=True
    )
    first = F.row_number().over(Window.partitionBy("hadm_id").orderBy("night"))
    entered = (
        there.withColumn("nth", first)
        .where((F.col("nth") == 1) & (F.col("day_of_stay") <= ENTERING))
        .drop("nth", "day_of_stay")
    )
    notes = tables_of_nights(spark, nights, "notes", _NOTES).join(
        entered.select("night", "hadm_id"), ["night", "hadm_id"], "left_semi"
    )
    told = notes.groupBy("hadm_id").agg(
        F.array_join(F.array_sort(F.collect_set("category")), BETWEEN).alias("categories")
    )
    documents = document_digests(notes).select("hadm_id", "n_notes", "document")
    tokens = (
        tables_of_nights(spark, nights, "chunks", _CHUNKS)
        .where(F.col("digest").isNotNull())
        .groupBy("night", "document")
        .agg(*(F.sum(name).alias(name) for name in ("n_tokens", "n_tokens_cut", "n_unknown")))
    )
    return (
        entered.join(told, "hadm_id", "left")
        .join(documents, "hadm_id", "left")
        .join(tokens, ["night", "document"], "left")
        .drop("document")
        .fillna({"n_notes": 0, "categories": ""})
    )


def last_scores(spark: SparkSession, nights: Sequence[Night]) -> DataFrame:
    """subject_id, hadm_id, score, alerted, basis: of each stay the last score, and whether it was
    alerted on any night: what `night_risk.followed` keeps, over all nights."""
    risk = tables_of_nights(spark, nights, "patient_risk", _RISK)
    return risk.groupBy("subject_id", "hadm_id", "basis").agg(
        F.max_by("score", "night").alias("score"), F.max("alert").alias("alerted")
    )


def settled(outcomes: DataFrame, as_of: datetime, horizon_days: float) -> DataFrame:
    """Of `night_risk.outcomes` those that left `horizon_days` ago or more. Of later ones only the
    readmitted are known, and they would make any rate too high."""
    passed = F.unix_micros(moment(as_of)) - F.unix_micros("dischtime")
    return outcomes.where(passed >= int(horizon_days * DAY))
