"""The Spark session of the jobs."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.session import tasks_done

pytestmark = pytest.mark.spark4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.session.timeZone", "UTC"),
        ("spark.sql.legacy.parquet.nanosAsLong", "true"),
        ("spark.sql.execution.arrow.maxRecordsPerBatch", "256"),
    ],
)
def test_the_settings_that_results_depend_on_are_set(
    spark: SparkSession, key: str, value: str
) -> None:
    assert spark.conf.get(key) == value


def test_s3_uris_use_the_s3a_connector(spark: SparkSession) -> None:
    hadoop = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    assert hadoop.get("fs.s3.impl") == "org.apache.hadoop.fs.s3a.S3AFileSystem"


def test_an_idle_session_has_no_tasks_to_report(spark: SparkSession) -> None:
    assert tasks_done(spark)() == ""
