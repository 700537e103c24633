"""Scores of an index in use: the last one that was there by the end of the window."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison.incumbents import check_names, incumbent_scores
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from tests.runs import start_run

LACE = """HADM_ID,SCORE,TIME
1,4,2020-01-01 10:00:00
1,9,2020-01-03 12:00:00
1,15,2020-01-04 00:00:01
2,19,2020-01-01 00:00:00
2,,2020-01-02 00:00:00
3,7,2020-02-01 00:00:00
4,x,2020-01-01 00:00:00
99,1,2020-01-01 00:00:00
"""


def config_with(tmp_path: Path, text: str, name: str = "LACE.csv") -> Config:
    (tmp_path / name).write_text(text)
    path = str(tmp_path / name)
    return load_config(overrides=[f"output.root={tmp_path}/out", f"compare.incumbents=['{path}']"])


def scores(spark: SparkSession, config: Config) -> dict[tuple[str, int], float]:
    cohort = spark.range(1, 5).select(
        F.col("id").alias("hadm_id"),
        F.to_timestamp(F.lit("2020-01-01 00:00:00")).alias("admittime"),
        F.to_timestamp(F.lit("2020-01-09 00:00:00")).alias("dischtime"),
    )
    measured = cohort.select(
        F.lit(-1).alias("fold"),
        F.explode(F.array(F.lit("3days"), F.lit("discharge"))).alias("window"),
        F.col("hadm_id").alias("subject_id"), "hadm_id", F.lit(0).alias("label"),
    )  # fmt: skip
    with start_run(spark, config, "compare") as run:
        (rows,) = incumbent_scores(run, cohort, measured).values()
        return {(row.window, row.hadm_id): row.score for row in rows.collect()}


def test_it_is_the_last_score_by_the_end_of_the_window(spark: SparkSession, tmp_path: Path) -> None:
    got = scores(spark, config_with(tmp_path, LACE))
    # Points from 9 to 19 become 0 to 1; the admissions 3 and 4 have no score in time.
    assert got == {
        ("3days", 1): 0.0,
        ("3days", 2): 1.0,
        ("discharge", 1): pytest.approx(0.6),
        ("discharge", 2): 1.0,
    }


def test_risks_stay_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    text = "HADM_ID,SCORE,TIME\n1,0.2,2020-01-01 00:00:00\n2,0.4,2020-01-01 00:00:00\n"
    assert scores(spark, config_with(tmp_path, text))["3days", 2] == 0.4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HADM_ID,SCORE,TIME\n1,high,2020-01-01 00:00:00\n", "no row of .*LACE.csv has a HADM_ID"),
        ("HADM_ID,SCORE,TIME\n1,5,2021-01-01 00:00:00\n", "no score of a measured admission"),
        ("HADM_ID,SCORE\n1,5\n", "TIME"),
    ],
)
def test_a_file_that_says_nothing_is_an_error(
    spark: SparkSession, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        scores(spark, config_with(tmp_path, text))


def test_a_name_is_used_once() -> None:
    with pytest.raises(UserError, match="LACE names two models of the table; rename the file"):
        check_names(["/a/LACE.csv", "/b/LACE.csv.gz"], ["readmission"])
    with pytest.raises(UserError, match="TF-IDF names two models"):
        check_names(["/a/TF-IDF.csv"], ["TF-IDF"])
