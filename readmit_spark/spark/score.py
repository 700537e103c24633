"""Scoring: chunks to probabilities on the executors, probabilities to patients by groupBy."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.core.windows import parse_window
from readmit_spark.spark.ship import Shipped

# A task long enough to pay for its overhead and short enough to lose when a spot node goes.
_TASK_TOKENS = 2_000_000
_TASKS_A_SLOT = 4  # so that a slow slot is not waited for by all others
_MIN_CHUNKS = 64  # below that a task is all overhead


class ChunkScorer(Protocol):
    """What runs in a worker: token ids in, P(readmit) out, in order."""

    def score(self, chunks: list[NDArray[np.int32]]) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class ScorerSettings:
    """Everything a worker needs to build its model; equal settings share one model a process."""

    model: Shipped
    backend: str
    precision: str
    batch_tokens: int | None


def build_scorer(settings: ScorerSettings) -> ChunkScorer:
    """The model of this worker, on the GPU that Spark gave the task, else CUDA, else the CPU."""
    # Before torch is imported: a worker that sees all GPUs of a node puts every model on the first.
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.addresses[0]
    from readmit_spark.models.predict import Scorer

    return Scorer(
        settings.model.folder(),
        precision=settings.precision,
        backend=settings.backend,
        batch_tokens=settings.batch_tokens,
    )


def score_chunks(
    chunks: DataFrame,
    settings: ScorerSettings,
    model_name: str,
    build: Callable[[ScorerSettings], ChunkScorer] = build_scorer,
) -> DataFrame:
    """The contract's `chunk_scores`: window, hadm_id, chunk_index, probability, model.

    Equal chunks are scored once: a 2-day document is the beginning of the 3-day one, and notes are
    copied forward. Rows are sorted by length within a partition, so that a batch is padded to much
    the same length; the result is keyed by the tokens' digest and never by position.
    """
    keyed = chunks.withColumn("digest", F.sha2(F.col("input_ids").cast("string"), 256))
    unique = keyed.groupBy("digest").agg(
        F.first("input_ids").alias("input_ids"), F.first("n_tokens").alias("n_tokens")
    )
    spread = unique.repartition(_partitions(unique), "digest").sortWithinPartitions(
        F.col("n_tokens").desc()
    )

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _score_batches(batches, settings, build)

    scored = spread.select("digest", "input_ids").mapInArrow(
        apply, "digest string, probability double"
    )
    return keyed.join(scored, on="digest", how="inner").select(
        "window", "hadm_id", "chunk_index", "probability", F.lit(model_name).alias("model")
    )


def _score_batches(
    batches: Iterator[pa.RecordBatch],
    settings: ScorerSettings,
    build: Callable[[ScorerSettings], ChunkScorer],
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        ids = batch["input_ids"]
        flat, offsets = ids.flatten().to_numpy(), np.append(0, np.cumsum(ids.value_lengths()))
        probabilities = _scorer(settings, build).score(
            [flat[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        )
        yield pa.RecordBatch.from_arrays(
            [batch["digest"], pa.array(probabilities, pa.float64())], ["digest", "probability"]
        )


@lru_cache(maxsize=1)
def _scorer(
    settings: ScorerSettings, build: Callable[[ScorerSettings], ChunkScorer]
) -> ChunkScorer:
    """Built once a worker process, which serves many tasks."""
    return build(settings)


def _partitions(unique: DataFrame) -> int:
    """Tasks of equal work: chunks go to them by digest, so each has the same mix of lengths."""
    sums = unique.agg(F.count(F.lit(1)).alias("chunks"), F.sum("n_tokens").alias("tokens")).first()
    assert sums is not None
    slots = unique.sparkSession.sparkContext.defaultParallelism
    wanted = max(slots * _TASKS_A_SLOT, math.ceil((sums["tokens"] or 0) / _TASK_TOKENS))
    return max(1, min(wanted, math.ceil(sums["chunks"] / _MIN_CHUNKS)))


def patient_scores(
    chunk_scores: DataFrame, cohort: DataFrame, windows: Sequence[str], c: float
) -> DataFrame:
    """The contract's `patient_scores`: the vote of each admission's chunks, per window.

    (max + mean n/c) / (1 + n/c), method section 8. Probabilities are summed in chunk order, so the
    score has the same bits whatever the partitioning. `actionable`: in a window of N days, the stay
    lasts at least N days or has not ended; always true for `discharge`.
    """
    ordered = F.array_sort(F.collect_list(F.struct("chunk_index", "probability")))
    total = F.aggregate(ordered, F.lit(0.0), lambda acc, chunk: acc + chunk["probability"])
    n = F.col("n_chunks")
    votes = (
        chunk_scores.groupBy("window", "hadm_id")
        .agg(
            F.count(F.lit(1)).cast("int").alias("n_chunks"),
            F.max("probability").alias("max_probability"),
            total.alias("total"),
        )
        .withColumn("mean_probability", F.col("total") / n)
        .withColumn(
            "score",
            (F.col("max_probability") + F.col("mean_probability") * n / c) / (1 + n / c),
        )
    )
    return votes.join(cohort, on="hadm_id", how="inner").select(
        "window",
        "subject_id",
        "hadm_id",
        "n_chunks",
        "max_probability",
        "mean_probability",
        "score",
        "label",
        "split",
        _actionable(windows).alias("actionable"),
    )


def _actionable(windows: Sequence[str]) -> Column:
    """A stay without an end has not ended, or its end is not known: the prediction can be used."""
    result = F.lit(True)
    for window in map(parse_window, windows):
        if window.days is not None:
            lasts = F.coalesce(F.col("duration_days") >= window.days, F.lit(True))
            result = F.when(F.col("window") == window.name, lasts).otherwise(result)
    return result


def chunk_facts(chunk_scores: DataFrame, patients: DataFrame) -> DataFrame:
    """window, accuracy at 0.5 and mean log loss over the chunks of the admissions in `patients`."""
    p = F.greatest(F.least(F.col("probability"), F.lit(1 - 1e-15)), F.lit(1e-15))
    hit = (F.col("probability") >= 0.5) == (F.col("label") == 1)
    labelled = chunk_scores.join(
        patients.select("window", "hadm_id", "label"), ["window", "hadm_id"]
    )
    return labelled.groupBy("window").agg(
        F.avg(hit.cast("int")).alias("accuracy"),
        F.avg(-F.log(F.when(F.col("label") == 1, p).otherwise(1 - p))).alias("loss"),
    )
