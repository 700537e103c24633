"""The chunks to score, and the number of tasks to score them in."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.scoring.score_chunks import distinct_chunks
from readmit_spark.scoring.workload import n_tasks, unscored_chunks, workload

pytestmark = pytest.mark.spark4


@pytest.mark.parametrize(
    ("chunks", "tokens", "slots", "on_gpus", "tasks"),
    [
        (0, 0, 2, False, 1),
        (8, 3_200, 2, False, 1),
        (9, 3_600, 2, False, 2),  # both cores of a laptop
        (40, 16_000, 2, False, 5),
        (40, 16_000, 2, True, 1),  # one GPU loads the model, not all of them
        (65, 26_000, 2, True, 2),
        (10_000, 4_000_000, 10, False, 40),
        (10_000, 4_000_000, 10, True, 40),
        (1_000_000, 400_000_000, 10, True, 200),  # none longer than two million tokens
    ],
)
def test_tasks(chunks: int, tokens: int, slots: int, on_gpus: bool, tasks: int) -> None:
    assert n_tasks(chunks, tokens, slots, on_gpus) == tasks


def test_a_few_chunks_are_shared_by_all_cores(spark: SparkSession) -> None:
    rows = [(str(hadm % 20), [2, 5 + hadm % 20, 3], 3) for hadm in range(40)]
    schema = "digest string, input_ids array<int>, n_tokens int"
    work = workload(distinct_chunks(spark.createDataFrame(rows, schema)))
    assert (work.distinct, work.tokens) == (20, 60)
    assert work.tasks == 3


def test_chunks_without_a_score_are_scored_once_each(spark: SparkSession) -> None:
    rows = [("a", [2, 3], 2), ("b", [2, 4, 3], 3), ("b", [2, 4, 3], 3), (None, None, None)]
    chunks = spark.createDataFrame(rows, "digest string, input_ids array<int>, n_tokens int")
    scores = spark.createDataFrame([("a", 0.5)], "digest string, probability double")
    to_score = unscored_chunks(chunks, scores)
    (row,) = to_score.collect()
    assert (row.digest, row.input_ids, row.n_tokens) == ("b", [2, 4, 3], 3)
    assert workload(to_score).distinct == 1
