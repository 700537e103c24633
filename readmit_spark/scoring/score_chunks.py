"""Score chunks on the executors, and combine their probabilities into patient scores."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.notes.windows import parse_window
from readmit_spark.scoring.ship_model import ShippedModel

SCORES = T.StructType(
    [T.StructField("digest", T.StringType()), T.StructField("probability", T.DoubleType())]
)


class ChunkScorer(Protocol):
    """Turns batches of token ids into probabilities of readmission, in the same order."""

    @property
    def backend(self) -> str: ...

    def stream(
        self, batches: Iterable[list[NDArray[np.int32]]]
    ) -> Iterator[NDArray[np.float64]]: ...


@dataclass(frozen=True)
class ScorerSettings:
    """Everything a worker needs to build its scorer, which it builds once for equal settings."""

    model: ShippedModel
    backend: str
    precision: str
    batch_tokens: int | None
    device: str = "auto"


def build_scorer(settings: ScorerSettings) -> ChunkScorer:
    """Build the model of this worker.

    With `device` auto it uses the GPU that Spark assigned to the task, else any GPU, else the CPU.
    UserError if the assigned GPU does not work: a job that pays for GPUs must not run on CPUs.
    """
    device = task_device(settings)
    from readmit_spark.scoring.scorer import Scorer

    return Scorer(
        settings.model.folder(),
        device=device,
        precision=settings.precision,
        backend=settings.backend,
        batch_tokens=settings.batch_tokens,
    )


def task_device(settings: ScorerSettings) -> str | None:
    """Return torch's name of the device for this worker's model; None lets torch choose.

    Call before torch is imported. Errors: see `build_scorer`.
    """
    # A worker that sees all GPUs of a node would put every model on the first one.
    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.addresses[0]
    import torch

    if gpus and settings.device == "auto" and not torch.cuda.is_available():
        raise UserError(
            f"GPU {gpus.addresses[0]} of {socket.gethostname()}: torch sees no GPU there (see "
            "nvidia-smi and the driver), or set score.device=cpu"
        )
    return settings.device if settings.device != "auto" else None


def check_gpus(spark: SparkSession) -> None:
    """Raise a UserError if Spark assigns GPUs, but not exactly one per executor and per task.

    A Python worker runs any task of its executor and keeps its model on the GPU of its first task.
    With two GPUs in an executor, two models could end up on the same GPU.
    """
    conf = spark.sparkContext.getConf()
    for owner in ("executor", "task"):
        amount = conf.get(f"spark.{owner}.resource.gpu.amount")
        if amount is not None and float(amount) != 1:
            raise UserError(
                f"spark.{owner}.resource.gpu.amount is {amount}: set it to 1, and start one "
                "executor for each GPU of a node"
            )


def distinct_chunks(chunks: DataFrame) -> DataFrame:
    """Return each distinct sequence of token ids once: digest, input_ids, n_tokens."""
    return chunks.select("digest", "input_ids", "n_tokens").dropDuplicates(["digest"])


def score_chunks(
    distinct: DataFrame,
    tasks: int,
    settings: ScorerSettings,
    build: Callable[[ScorerSettings], ChunkScorer] = build_scorer,
) -> DataFrame:
    """Return digest, probability of each distinct chunk.

    distinct: the result of `distinct_chunks` or `unscored_chunks`. Equal chunks are scored once: a
    2-day document is the beginning of the 3-day one, and notes are copied forward. Chunks are
    assigned to tasks by their digest (`task_of`), so all tasks get the same mix of lengths, and an
    admission with very long documents does not slow down one task. Within a task rows are sorted by
    length, so a batch needs little padding.
    """
    by_task = distinct.repartition(tasks, "digest")

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return score_batches(batches, cached_scorer(settings, build))

    # The digest breaks ties, so every run forms the same batches and gets the same bits.
    return (
        by_task.sortWithinPartitions(F.col("n_tokens").desc(), "digest")
        .select("digest", "input_ids")
        .mapInArrow(apply, SCORES)
    )


def task_of(tasks: int) -> Column:
    """Return the task that scores a chunk: its partition in `repartition(tasks, "digest")`."""
    return F.pmod(F.hash("digest"), F.lit(tasks))


def chunk_scores_table(chunks: DataFrame, scores: DataFrame, model_name: str) -> DataFrame:
    """Build the `chunk_scores` table: window, hadm_id, chunk_index, probability, model.

    chunks: window, hadm_id, chunk_index, digest. scores: from `score_chunks`.
    """
    owners = chunks.select("window", "hadm_id", "chunk_index", "digest")
    return owners.join(scores, "digest").select(
        "window", "hadm_id", "chunk_index", "probability", F.lit(model_name).alias("model")
    )


def score_batches(
    batches: Iterable[pa.RecordBatch], scorer: ChunkScorer
) -> Iterator[pa.RecordBatch]:
    """Turn batches of (digest, input_ids) into batches of (digest, probability), in order."""
    waiting: deque[pa.Array] = deque()  # digests of the batches that the scorer reads ahead

    def token_batches() -> Iterator[list[NDArray[np.int32]]]:
        for batch in batches:
            waiting.append(batch["digest"])
            yield token_arrays(batch["input_ids"])

    for probabilities in scorer.stream(token_batches()):
        yield pa.RecordBatch.from_arrays(
            [waiting.popleft(), pa.array(probabilities, pa.float64())], SCORES.names
        )


def token_arrays(input_ids: pa.ListArray) -> list[NDArray[np.int32]]:
    """Split a column of token ids into one array per row, without copying."""
    flat = input_ids.flatten().to_numpy()
    ends = np.cumsum(input_ids.value_lengths().to_numpy())
    return np.split(flat, ends[:-1]) if len(ends) else []


@lru_cache(maxsize=1)
def cached_scorer(
    settings: ScorerSettings, build: Callable[[ScorerSettings], ChunkScorer]
) -> ChunkScorer:
    """Build the model once in a worker process, which runs many tasks."""
    return build(settings)


def patient_scores(
    chunk_scores: DataFrame, cohort: DataFrame, windows: Sequence[str], c: float
) -> DataFrame:
    """Return the `patient_scores` table: the vote of each admission's chunks, by window.

    actionable: in a window of N days, the patient is in the house at the midnight that ends it;
    always true for `discharge`.
    """
    votes = vote(chunk_scores, ["window", "hadm_id"], c)
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


def vote(chunk_scores: DataFrame, by: Sequence[str], c: float, *more: Column) -> DataFrame:
    """Combine the chunk probabilities of each group (columns `by`) into one score.

    Returns `by`, n_chunks, max_probability, mean_probability, more (further aggregates of the
    group), score. The score is
    (max + mean * n/c) / (1 + n/c); see docs/method.md, section 8. Probabilities are summed in chunk
    order, so the score does not depend on the partitioning, to the last bit.
    """
    ordered = F.array_sort(F.collect_list(F.struct("chunk_index", "probability")))
    total = F.aggregate(ordered, F.lit(0.0), lambda acc, chunk: acc + chunk["probability"])
    n = F.col("n_chunks")
    return (
        chunk_scores.groupBy(*by)
        .agg(
            F.count(F.lit(1)).cast("int").alias("n_chunks"),
            F.max("probability").alias("max_probability"),
            total.alias("total"),
            *more,
        )
        .withColumn("mean_probability", F.col("total") / n)
        .withColumn(
            "score",
            (F.col("max_probability") + F.col("mean_probability") * n / c) / (1 + n / c),
        )
        .drop("total")
    )


def _actionable(windows: Sequence[str]) -> Column:
    result = F.lit(True)
    for window in map(parse_window, windows):
        if window.days is not None:
            there = in_house_after(F.lit(window.days))
            result = F.when(F.col("window") == window.name, there).otherwise(result)
    return result


def in_house_after(days: Column) -> Column:
    """Return whether the stay includes at least `days` midnights (column `midnights`).

    True also for null: the stay has not ended, or its end is unknown.
    """
    return F.coalesce(F.col("midnights") >= days, F.lit(True))


def chunk_facts(chunk_scores: DataFrame, patients: DataFrame) -> DataFrame:
    """Return window, accuracy at 0.5 and mean log loss, over the chunks of `patients`."""
    p = F.greatest(F.least(F.col("probability"), F.lit(1 - 1e-15)), F.lit(1e-15))
    hit = (F.col("probability") >= 0.5) == (F.col("label") == 1)
    labelled = chunk_scores.join(
        patients.select("window", "hadm_id", "label"), ["window", "hadm_id"]
    )
    return labelled.groupBy("window").agg(
        F.avg(hit.cast("int")).alias("accuracy"),
        F.avg(-F.log(F.when(F.col("label") == 1, p).otherwise(1 - p))).alias("loss"),
    )
