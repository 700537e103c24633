"""Scoring: chunks to probabilities on the executors, probabilities to patients by groupBy."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
from readmit_spark.scoring.ship_model import Shipped

_PROBABILITY = T.StructField("probability", T.DoubleType())


class ChunkScorer(Protocol):
    """What runs in a worker: batches of token ids in, P(readmit) out, in order."""

    @property
    def backend(self) -> str: ...

    def stream(
        self, batches: Iterable[list[NDArray[np.int32]]]
    ) -> Iterator[NDArray[np.float64]]: ...


@dataclass(frozen=True)
class ScorerSettings:
    """Everything a worker needs to build its model; equal settings share one model a process."""

    model: Shipped
    backend: str
    precision: str
    batch_tokens: int | None
    device: str = "auto"


def build_scorer(settings: ScorerSettings) -> ChunkScorer:
    """The model of this worker. With `device` auto: on the GPU that Spark gave the task, else CUDA
    where there is some, else the CPU. A GPU that was given and fails is a UserError: a job that
    pays for GPUs is not to be scored on CPUs."""
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
    """The device that this worker's model goes to, as torch names it; None is torch's best. To be
    asked before torch is imported; the errors of `build_scorer`."""
    # A worker that sees all GPUs of a node puts every model on the first.
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
    """UserError unless Spark's GPUs, where it has any, are one an executor and one a task.

    A Python worker serves whichever task of its executor comes next, and keeps the model on the GPU
    it was first given: with two GPUs an executor, two models would meet on one of them.
    """
    conf = spark.sparkContext.getConf()
    for of in ("executor", "task"):
        amount = conf.get(f"spark.{of}.resource.gpu.amount")
        if amount is not None and float(amount) != 1:
            raise UserError(
                f"spark.{of}.resource.gpu.amount is {amount}: set it to 1, and have an executor "
                "for each GPU of a node"
            )


def distinct_chunks(chunks: DataFrame) -> DataFrame:
    """digest, input_ids, n_tokens, owners: each sequence of token ids once, and the chunks (window,
    hadm_id, chunk_index) that consist of it."""
    return (
        with_digest(chunks)
        .groupBy("digest")
        .agg(
            F.first("input_ids").alias("input_ids"),
            F.first("n_tokens").alias("n_tokens"),
            F.collect_list(F.struct("window", "hadm_id", "chunk_index")).alias("owners"),
        )
    )


def with_digest(chunks: DataFrame) -> DataFrame:
    """Chunks with `digest`, 64 hex digits of what the model sees of them."""
    return chunks.withColumn("digest", F.sha2(F.col("input_ids").cast("string"), 256))


def score_chunks(
    distinct: DataFrame,
    tasks: int,
    settings: ScorerSettings,
    model_name: str,
    build: Callable[[ScorerSettings], ChunkScorer] = build_scorer,
) -> DataFrame:
    """The `chunk_scores` table (docs/tables.md): window, hadm_id, chunk_index, probability, model.

    distinct: of `distinct_chunks`. Equal chunks are scored once: a 2-day document is the beginning
    of the 3-day one, and notes are copied forward. Chunks go to tasks by their digest, whoever owns
    them: each task has the same mix of lengths, and an admission with a hundred times the text of
    another makes no straggler. Rows are sorted by length within a task, so that a batch is padded
    to much the same length; a probability travels with its chunk's owners.
    """
    spread = distinct.repartition(tasks, "digest")

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return score_batches(batches, _cached_scorer(settings, build))

    # The digest breaks ties, so that the batches, and a score's last bits, are the same every time.
    scored = (
        spread.sortWithinPartitions(F.col("n_tokens").desc(), "digest")
        .select("owners", "input_ids")
        .mapInArrow(apply, T.StructType([spread.schema["owners"], _PROBABILITY]))
    )
    return scored.select(F.explode("owners").alias("owner"), "probability").select(
        "owner.*", "probability", F.lit(model_name).alias("model")
    )


def score_batches(
    batches: Iterable[pa.RecordBatch], scorer: ChunkScorer
) -> Iterator[pa.RecordBatch]:
    """(owners, probability) of (owners, input_ids), batch by batch and in order."""
    waiting: deque[pa.Array] = deque()  # owners of the batches that the scorer has taken ahead

    def taken() -> Iterator[list[NDArray[np.int32]]]:
        for batch in batches:
            waiting.append(batch["owners"])
            yield token_arrays(batch["input_ids"])

    for probabilities in scorer.stream(taken()):
        yield pa.RecordBatch.from_arrays(
            [waiting.popleft(), pa.array(probabilities, pa.float64())], ["owners", "probability"]
        )


def token_arrays(input_ids: pa.ListArray) -> list[NDArray[np.int32]]:
    """A column of token ids as one array a row, without a copy."""
    flat = input_ids.flatten().to_numpy()
    ends = np.cumsum(input_ids.value_lengths().to_numpy())
    return np.split(flat, ends[:-1]) if len(ends) else []


@lru_cache(maxsize=1)
def _cached_scorer(
    settings: ScorerSettings, build: Callable[[ScorerSettings], ChunkScorer]
) -> ChunkScorer:
    """Built once a worker process, which serves many tasks."""
    return build(settings)


@dataclass(frozen=True)
class PrecisionProbe:
    """What one executor said before the work began: see `models.predict.PrecisionCheck`."""

    backend: str
    load_seconds: float
    max_shift: float
    flips: int
    n: int


def probe(
    distinct: DataFrame, settings: ScorerSettings, sample: int, threshold: float
) -> PrecisionProbe:
    """Builds the scorer on an executor, and holds a 16-bit precision against fp32 on a sample.

    The sample are the `sample` chunks whose digests come first: the same ones on every run.
    """

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ids = [chunk for batch in batches for chunk in token_arrays(batch["input_ids"])]
        yield pa.RecordBatch.from_pylist([asdict(_probe(settings, ids, threshold))])

    exact = settings.precision == "fp32"
    first = distinct.orderBy("digest").limit(1 if exact else sample).coalesce(1)
    schema = "backend string, load_seconds double, max_shift double, flips long, n long"
    # Collected, as Spark ends a worker that it has not read to its end, and the model with it.
    (row,) = first.select("input_ids").mapInArrow(apply, schema).collect()
    return PrecisionProbe(**row.asDict())


def _probe(
    settings: ScorerSettings, ids: list[NDArray[np.int32]], threshold: float
) -> PrecisionProbe:
    start = time.monotonic()
    scorer = _cached_scorer(settings, build_scorer)
    (found,) = scorer.stream([ids])  # with the first chunks a GPU compiles and captures
    seconds = time.monotonic() - start
    if settings.precision == "fp32":
        return PrecisionProbe(scorer.backend, seconds, 0.0, 0, 0)
    from readmit_spark.scoring.scorer import compare_precisions

    (exact,) = build_scorer(replace(settings, precision="fp32")).stream([ids])
    check = compare_precisions(exact, found, threshold)
    return PrecisionProbe(scorer.backend, seconds, check.max_shift, check.flips, check.n)


def patient_scores(
    chunk_scores: DataFrame, cohort: DataFrame, windows: Sequence[str], c: float
) -> DataFrame:
    """The `patient_scores` table (docs/tables.md): the vote of each admission's chunks, per window.

    `actionable`: in a window of N days, the stay lasts at least N days or has not ended; always
    true for `discharge`.
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


def vote(chunk_scores: DataFrame, by: Sequence[str], c: float) -> DataFrame:
    """by, n_chunks, max_probability, mean_probability, score: one row a group of chunks.

    (max + mean n/c) / (1 + n/c); docs/method.md, section 8. Probabilities are summed in chunk
    order, so the score has the same bits whatever the partitioning.
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
            there = lasts(F.lit(window.days))
            result = F.when(F.col("window") == window.name, there).otherwise(result)
    return result


def lasts(days: Column) -> Column:
    """Whether duration_days is at least `days`. A stay without an end has not ended, or its end is
    not known: the prediction can be used."""
    return F.coalesce(F.col("duration_days") >= days, F.lit(True))


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
