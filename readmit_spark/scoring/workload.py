"""How much there is to score, and in how many tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# A task long enough to pay for its overhead and short enough to lose when a spot node goes.
_TASK_TOKENS = 2_000_000
_TASKS_A_SLOT = 4  # so that a slow slot is not waited for by all others
_LEAST_CHUNKS = 8  # seconds of a core: below that a task is all overhead
_LEAST_CHUNKS_GPU = 64  # milliseconds, and one more GPU would load the model for them


@dataclass(frozen=True)
class Workload:
    """What a run has to score: distinct chunks and their tokens, of `chunks` in all, in `tasks`."""

    chunks: int
    distinct: int
    tokens: int
    tasks: int


def workload(distinct: DataFrame) -> Workload:
    """Counts the work in `distinct_chunks`, and chooses the tasks."""
    sums = distinct.agg(F.sum(F.size("owners")), F.count(F.lit(1)), F.sum("n_tokens")).first()
    assert sums is not None  # an aggregate without groups always has one row
    total, n, tokens = (int(value or 0) for value in sums)
    context = distinct.sparkSession.sparkContext
    on_gpus = context.getConf().contains("spark.task.resource.gpu.amount")
    return Workload(total, n, tokens, n_tasks(n, tokens, context.defaultParallelism, on_gpus))


def n_tasks(chunks: int, tokens: int, slots: int, on_gpus: bool) -> int:
    """As many as make four a slot, or more where a task would have over two million tokens (a
    minute of a GPU), or fewer where one would have less than 8 chunks (64 on a GPU).

    >>> n_tasks(chunks=40, tokens=16_000, slots=2, on_gpus=False)
    5
    """
    wanted = max(slots * _TASKS_A_SLOT, math.ceil(tokens / _TASK_TOKENS))
    least = _LEAST_CHUNKS_GPU if on_gpus else _LEAST_CHUNKS
    return max(1, min(wanted, math.ceil(chunks / least)))
