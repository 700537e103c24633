"""The score of an admission after each day of its stay, as its notes arrive."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.notes.chunks_table import chunk_rows, chunks_table
from readmit_spark.notes.preparation import Preparation
from readmit_spark.scoring.score_chunks import in_house_after, vote

OWNER = ("window", "hadm_id", "chunk_index")


def day_windows(days: int) -> tuple[str, ...]:
    """Return the window that ends with each day: 1days, 2days, …"""
    return tuple(f"{day}days" for day in range(1, days + 1))


def day_chunks(documents: DataFrame, preparation: Preparation) -> DataFrame:
    """Cut the rows of `documents_table` into window, hadm_id, chunk_index, input_ids, n_tokens,
    digest."""
    chunks = chunks_table(chunk_rows(documents, preparation))
    return chunks.select(*OWNER, "input_ids", "n_tokens", "digest")


def earlier_scores(prepared: DataFrame, chunk_scores: DataFrame) -> DataFrame:
    """Build digest, probability from the chunks that jobs/score.py has scored.

    prepared: the `chunks` table that it scored. chunk_scores: its result.
    """
    return (
        chunk_scores.join(prepared.select(*OWNER, "digest"), list(OWNER), "inner")
        .groupBy("digest")
        .agg(F.min("probability").alias("probability"))
    )


def risk_by_day(chunks: DataFrame, scores: DataFrame, cohort: DataFrame, c: float) -> DataFrame:
    """Build subject_id, hadm_id, day (1 on the day of admission), n_chunks, score, change, label,
    split, actionable: one row for each day of the stay that ends with at least one chunk.

    chunks: from `day_chunks`. scores: digest, probability. Days after the discharge have no row.
    change: score minus the score of the day before; null on the first day with a score.
    actionable: the patient is in the house at the midnight that ends the day, as in
    `patient_scores`. Otherwise it ended before the day's notes were complete.
    """
    votes = vote(
        chunks.join(scores, "digest", "inner").select(*OWNER, "probability"),
        ["window", "hadm_id"],
        c,
    )
    last_day = F.datediff(F.to_date("dischtime"), F.to_date("admittime")) + 1
    stays = cohort.select(
        "subject_id", "hadm_id", "label", "split", "midnights", last_day.alias("last_day")
    )
    day = F.regexp_extract("window", r"^(\d+)days$", 1).cast("int")
    day_before = F.lag("score").over(Window.partitionBy("hadm_id").orderBy("day"))
    return (
        votes.withColumn("day", day)
        .join(stays, "hadm_id", "inner")
        .where(F.col("last_day").isNull() | (F.col("day") <= F.col("last_day")))
        .withColumn("change", F.col("score") - day_before)
        .select(
            "subject_id", "hadm_id", "day", "n_chunks", "score", "change", "label", "split",
            in_house_after(F.col("day")).alias("actionable"),
        )
    )  # fmt: skip
