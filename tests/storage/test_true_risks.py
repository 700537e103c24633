"""The true risks of a synthetic cohort, by window."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.storage.input_tables import read_true_risks


def test_a_window_has_the_risk_of_its_column_and_else_that_of_the_admission(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "TRUTH.csv"
    path.write_text(
        "HADM_ID,ADMITTIME,RISK,RISK_2DAYS\n"
        "1,2101-01-01 08:00:00,0.9,0.3\n"
        "2,2101-01-02 08:00:00,0.1,\n"
    )
    admitted = [(1, datetime(2101, 1, 1, 8)), (2, datetime(2101, 1, 2, 8))]
    cohort = spark.createDataFrame(admitted, "hadm_id long, admittime timestamp")
    config = load_config(overrides=[f"data.truth={path}"])
    assert read_true_risks(spark, config, cohort, ["2days", "discharge"]) == {
        "2days": {1: 0.3, 2: 0.1},
        "discharge": {1: 0.9, 2: 0.1},
    }
