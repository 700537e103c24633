"""The risk of a stay as its notes arrive: the score after each of its days."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.config import Chunk
from readmit_spark.notes.chunks_table import chunk_rows, chunks_table
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.score_chunks import lasts, vote, with_digest

OWNER = ("window", "hadm_id", "chunk_index")


def day_windows(days: int) -> tuple[str, ...]:
    """The windows after each day: 1days, 2days, …"""
    return tuple(f"{day}days" for day in range(1, days + 1))


def day_chunks(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """window, hadm_id, chunk_index, input_ids, n_tokens, digest, of `documents_table`'s rows."""
    chunks = chunks_table(chunk_rows(documents, chunk, tokenizer))
    return with_digest(chunks.select(*OWNER, "input_ids", "n_tokens"))


def known_scores(prepared: DataFrame, chunk_scores: DataFrame) -> DataFrame:
    """digest, probability: of what jobs/score.py has scored. prepared: the chunks it had."""
    chunks = with_digest(prepared.select(*OWNER, "input_ids"))
    return (
        chunk_scores.join(chunks.select(*OWNER, "digest"), list(OWNER), "inner")
        .groupBy("digest")
        .agg(F.min("probability").alias("probability"))
    )


def to_score(chunks: DataFrame, known: DataFrame) -> DataFrame:
    """What `score.score_chunks` takes, with the digest in place of the owners: the chunks without a
    score, each once."""
    return (
        chunks.join(known, "digest", "left_anti")
        .groupBy("digest")
        .agg(F.first("input_ids").alias("input_ids"), F.first("n_tokens").alias("n_tokens"))
        .withColumn("owners", F.array(F.struct("digest")))
    )


def risk_by_day(chunks: DataFrame, scores: DataFrame, cohort: DataFrame, c: float) -> DataFrame:
    """subject_id, hadm_id, day (1 is that of admission), n_chunks, score, change, label, split,
    actionable: a row a day of the stay with a chunk to read by its end.

    scores: digest, probability. A stay has the days up to that of its discharge; one without has
    all. change: against the day before; null on the first with a score.
    actionable: the stay lasts at least `day` times 24 hours or has not ended, as in
    `score.patient_scores`; else it was over before the day's notes were.
    """
    votes = vote(
        chunks.join(scores, "digest", "inner").select(*OWNER, "probability"),
        ["window", "hadm_id"],
        c,
    )
    last_day = F.datediff(F.to_date("dischtime"), F.to_date("admittime")) + 1
    stays = cohort.select(
        "subject_id", "hadm_id", "label", "split", "duration_days", last_day.alias("last_day")
    )
    day = F.regexp_extract("window", r"^(\d+)days$", 1).cast("int")
    before = F.lag("score").over(Window.partitionBy("hadm_id").orderBy("day"))
    return (
        votes.withColumn("day", day)
        .join(stays, "hadm_id", "inner")
        .where(F.col("last_day").isNull() | (F.col("day") <= F.col("last_day")))
        .withColumn("change", F.col("score") - before)
        .select(
            "subject_id", "hadm_id", "day", "n_chunks", "score", "change", "label", "split",
            lasts(F.col("day")).alias("actionable"),
        )
    )  # fmt: skip
