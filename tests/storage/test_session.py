"""The Spark session of the jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.session import tasks_done
from tests.spark_options import ROOT, submit_arguments

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


JOB = """
import sys
from readmit_spark import cli
from readmit_spark.storage.session import build_session
sys.exit(cli.run("job", "", lambda config: build_session("job").range(10**12).count(), []))
"""


@pytest.mark.slow
def test_an_interrupt_while_java_starts_leaves_no_java_behind() -> None:
    """Sent to Python alone, as `kill -INT` and schedulers do."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB],
        cwd=ROOT,
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": submit_arguments()},
        stderr=subprocess.PIPE,
        text=True,
    )
    started: list[psutil.Process] = []
    while not started:
        started = psutil.Process(job.pid).children()
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130
    gone, alive = psutil.wait_procs(started, timeout=30)
    for process in alive:
        process.kill()
    assert (len(gone), alive) == (1, [])
    assert job.communicate()[1].splitlines()[-1] == "job: interrupted"
