"""The input of the length-only baseline, and the choices of the logistic regression."""

from __future__ import annotations

from math import log1p

import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison.bag_of_words import length_rows, logistic

pytestmark = pytest.mark.spark4


def test_length_rows_count_the_document_and_all_chunks(spark: SparkSession) -> None:
    chunks = spark.createDataFrame(
        [("2days", 1, 10, "train", 1, 300), ("2days", 1, 10, "train", 1, 50),
         ("2days", 2, 20, "test", 0, 7), ("3days", 1, 10, "train", 1, 400)],
        "window string, subject_id long, hadm_id long, part string, label int, n_words int",
    )  # fmt: skip
    documents = spark.createDataFrame(
        [("2days", 10, 5, 2), ("2days", 20, 1, 1), ("3days", 10, 9, 1), ("3days", 30, 2, 1)],
        "window string, hadm_id long, n_notes int, n_chunks int",
    )
    rows = {(r.window, r.hadm_id): r for r in length_rows(documents, chunks).collect()}
    expected = {("2days", 10): (5, 2, 350), ("2days", 20): (1, 1, 7), ("3days", 10): (9, 1, 400)}
    assert set(rows) == set(expected)
    for key, numbers in expected.items():
        row = rows[key]
        logs = [row.n_notes, row.n_chunks, row.n_words]
        assert logs == pytest.approx([log1p(number) for number in numbers], abs=1e-12)
        assert row.chunk_index == 0
    assert (rows["2days", 10].label, rows["2days", 20].part) == (1, "test")


def test_logistic_returns_the_best_penalty_and_c_on_validation(spark: SparkSession) -> None:
    """Of two equal penalties it takes the smaller one."""
    rows = spark.createDataFrame(
        [("2days", 10, 0, "train", 0, Vectors.dense(0.0)),
         ("2days", 20, 0, "train", 1, Vectors.dense(1.0)),
         ("2days", 30, 0, "validation", 1, Vectors.dense(2.0)),
         ("2days", 40, 0, "test", 1, Vectors.dense(-2.0))],
        ["window", "hadm_id", "chunk_index", "part", "label", "features"],
    )  # fmt: skip
    aurocs = [(0.6, 1.0), (0.8, 2.0), (0.7, 4.0), (0.8, 8.0), *[(0.5, 1.0)] * 3]
    validation: list[float] = []

    def best_c(scores: DataFrame) -> tuple[float, float]:
        (row,) = scores.collect()
        assert row.part == "validation"
        validation.append(row.probability)
        return aurocs[len(validation) - 1]

    observed = Observation()  # after it, Spark 4 cannot send its session to executors
    rows.observe(observed, F.count(F.lit(1)).alias("n")).collect()
    train, others = rows.where("part = 'train'"), rows.where("part != 'train'")
    scores, penalty, c = logistic(train, others, best_c)
    assert (penalty, c) == (1e-4, 2.0)
    probabilities = {row.part: row.probability for row in scores.collect()}
    assert probabilities["validation"] == validation[1] > 0.5 > probabilities["test"]
    assert validation == sorted(validation, reverse=True)  # a larger penalty gives smaller weights
