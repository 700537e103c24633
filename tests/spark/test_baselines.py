"""What the length-only baseline reads."""

from __future__ import annotations

from math import log1p

import pytest
from pyspark.sql import SparkSession

from readmit_spark.spark.baselines import lengths


def test_lengths_are_of_the_whole_document(spark: SparkSession) -> None:
    chunks = spark.createDataFrame(
        [("2days", 1, 10, "train", 1, 300), ("2days", 1, 10, "train", 1, 50),
         ("2days", 2, 20, "test", 0, 7), ("3days", 1, 10, "train", 1, 400)],
        "window string, subject_id long, hadm_id long, part string, label int, n_words int",
    )  # fmt: skip
    documents = spark.createDataFrame(
        [("2days", 10, 5, 2), ("2days", 20, 1, 1), ("3days", 10, 9, 1), ("3days", 30, 2, 1)],
        "window string, hadm_id long, n_notes int, n_chunks int",
    )
    found = {(r.window, r.hadm_id): r for r in lengths(documents, chunks).collect()}
    expected = {("2days", 10): (5, 2, 350), ("2days", 20): (1, 1, 7), ("3days", 10): (9, 1, 400)}
    assert set(found) == set(expected)
    for key, numbers in expected.items():
        row = found[key]
        logs = [row.n_notes, row.n_chunks, row.n_words]
        assert logs == pytest.approx([log1p(number) for number in numbers], abs=1e-12)
        assert row.chunk_index == 0
    assert (found["2days", 10].label, found["2days", 20].part) == (1, "test")
