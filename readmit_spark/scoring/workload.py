"""The chunks to score, their number and the number of Spark tasks to score them in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.scoring.score_chunks import distinct_chunks

# A task should be long enough to pay for its overhead, and short enough to lose with a spot node.
_TASK_TOKENS = 2_000_000
_TASKS_PER_SLOT = 4  # so that the others do not wait long for a slow slot
_LEAST_CHUNKS = 8  # seconds on one core; a smaller task is mostly overhead
_LEAST_CHUNKS_GPU = 64  # milliseconds; for fewer, one more GPU would have to load the model


@dataclass(frozen=True)
class Workload:
    """The work of one scoring run.

    distinct: chunks with different token ids; each is scored once. tokens: of these chunks. tasks:
    Spark tasks to score them in.
    """

    distinct: int
    tokens: int
    tasks: int


NO_WORK = Workload(0, 0, 1)


def unscored_chunks(chunks: DataFrame, scores: DataFrame) -> DataFrame:
    """Select each distinct chunk without a score once: digest, input_ids, n_tokens.

    chunks: digest (null is no chunk), input_ids, n_tokens. scores: digest.
    """
    unscored = chunks.where(F.col("digest").isNotNull()).join(scores, "digest", "left_anti")
    return distinct_chunks(unscored)


def workload(distinct: DataFrame) -> Workload:
    """Count the work in `distinct` (from `distinct_chunks`) and choose the
    number of tasks."""
    sums = distinct.agg(F.count(F.lit(1)), F.sum("n_tokens")).first()
    assert sums is not None  # an aggregate without groups always has one row
    n, tokens = (int(value or 0) for value in sums)
    context = distinct.sparkSession.sparkContext
    on_gpus = context.getConf().contains("spark.task.resource.gpu.amount")
    return Workload(n, tokens, n_tasks(n, tokens, context.defaultParallelism, on_gpus))


def n_tasks(chunks: int, tokens: int, slots: int, on_gpus: bool) -> int:
    """Return the number of tasks: four for each slot.

    More where a task would have over two million tokens (a minute on a GPU). Fewer where it would
    have less than 8 chunks (64 on a GPU).

    >>> n_tasks(chunks=40, tokens=16_000, slots=2, on_gpus=False)
    5
    """
    target = max(slots * _TASKS_PER_SLOT, math.ceil(tokens / _TASK_TOKENS))
    least = _LEAST_CHUNKS_GPU if on_gpus else _LEAST_CHUNKS
    return max(1, min(target, math.ceil(chunks / least)))
