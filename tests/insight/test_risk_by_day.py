"""The score of an admission after each day of its stay, from a few rows."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import SparkSession

from readmit_spark.evaluation.vote import vote_score
from readmit_spark.insight.risk_by_day import day_windows, earlier_scores, risk_by_day
from tests.literal_rows import literal_rows

pytestmark = pytest.mark.spark4

OWNER = "window string, hadm_id long, chunk_index int"


def test_a_score_for_each_day_of_the_stay(spark: SparkSession) -> None:
    assert day_windows(3) == ("1days", "2days", "3days")
    chunks = spark.createDataFrame(
        [
            ("1days", 11, 0, "x"),
            ("2days", 11, 0, "x"),
            ("2days", 11, 1, "y"),
            ("3days", 11, 0, "x"),  # discharged on the second day: no row
            ("3days", 21, 0, "y"),  # still in the house, and no chunk before
        ],
        f"{OWNER}, digest string",
    )
    scores = spark.createDataFrame([("x", 0.2), ("y", 0.8)], "digest string, probability double")
    cohort = literal_rows(
        spark,
        [
            (1, 11, datetime(2020, 1, 1, 12), datetime(2020, 1, 2, 18), 1, 1, "test"),
            (2, 21, datetime(2020, 1, 1, 12), None, None, None, "train"),
        ],
        "subject_id long, hadm_id long, admittime timestamp, dischtime timestamp, "
        "midnights int, label int, split string",
    )
    first, second, other = (
        risk_by_day(chunks, scores, cohort, 2.0).orderBy("hadm_id", "day").collect()
    )
    assert tuple(first) == (1, 11, 1, 1, pytest.approx(0.2), None, 1, "test", True)
    both = vote_score([0.2, 0.8], 2.0)
    assert (second.day, second.n_chunks, second.score) == (2, 2, pytest.approx(both))
    assert second.change == pytest.approx(both - 0.2)
    assert not second.actionable  # the stay has one midnight
    assert (other.hadm_id, other.day, other.change, other.actionable) == (21, 3, None, True)


def test_scores_of_the_score_job_by_digest(spark: SparkSession) -> None:
    prepared = spark.createDataFrame(
        [("2days", 11, 0, "x"), ("3days", 11, 0, "x"), ("2days", 21, 0, "y")],
        f"{OWNER}, digest string",
    )
    chunk_scores = spark.createDataFrame(
        [("2days", 11, 0, 0.4), ("3days", 11, 0, 0.4)], f"{OWNER}, probability double"
    )
    (row,) = earlier_scores(prepared, chunk_scores).collect()
    assert (row.digest, row.probability) == ("x", 0.4)
