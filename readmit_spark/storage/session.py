"""The Spark session with the settings that the results depend on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark.storage.java import java_home

# Settings that hold whatever the cluster's defaults are.
_ALWAYS = {
    # MIMIC's times have no zone; UTC has no daylight saving to bend a length of stay.
    "spark.sql.session.timeZone": "UTC",
    # pandas writes nanoseconds, which Spark has no type for; read as numbers, they are converted.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Documents of very different size go through Arrow: a small batch bounds a worker's memory.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    # It drops a branch that turns out empty, and with it what the branch was observed to read.
    "spark.sql.adaptive.optimizer.excludedRules": (
        "org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"
    ),
    # A training that asks for more slots than there are says so in seconds: 40 tries, 15 s apart,
    # are the default. A few, as executors may still be on their way.
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "3s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "5",
    # The jobs print their own progress, one line at a time, which a log can hold.
    "spark.ui.showConsoleProgress": "false",
}

# Taken only where neither spark-submit nor a properties file says otherwise: one machine.
_LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}

# What a task failed of is in the exception that reaches the driver. These would log it again, some
# a hundred lines of trace, and a parser's trace may hold what it read.
_SAID_TWICE = (
    "org.apache.spark.api.python.PythonRunner",
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.sql.execution.python.ArrowPythonRunner",
)

_LOG4J = Path(__file__).parents[2] / "conf" / "log4j2.properties"


def build_session(app: str) -> SparkSession:
    """The session of this process. Under spark-submit its master and resources are kept."""
    builder = SparkSession.builder.appName(app)
    # Spark's Java started this program where it left its port: also on a cluster's node, where no
    # script of spark-submit has been.
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Started as a plain Python program: this process launches Java, and its own interpreter
        # (with this package in it) must be the workers' as well.
        os.environ.setdefault("JAVA_HOME", str(java_home(os.environ)))
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        for key, value in _LOCAL.items():
            builder = builder.config(key, value)
        if _LOG4J.exists():  # in a clone, also before there is a session to set a level of
            java = f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}"
            builder = builder.config("spark.driver.extraJavaOptions", java)
    for key, value in _ALWAYS.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    # EMR's s3:// is S3A's, or what its configuration says; elsewhere it is nobody's.
    hadoop = session._jsc.hadoopConfiguration()
    hadoop.setIfUnset("fs.s3.impl", "org.apache.hadoop.fs.s3a.S3AFileSystem")
    session.sparkContext.setLogLevel("ERROR")
    log4j = session._jvm.org.apache.logging.log4j
    for logger in _SAID_TWICE:
        log4j.core.config.Configurator.setLevel(logger, log4j.Level.OFF)
    return session


def tasks_done(spark: SparkSession) -> Callable[[], str]:
    """For Progress: how many tasks of the stages that run now are done."""
    tracker = spark.sparkContext.statusTracker()

    def text() -> str:
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        done = sum(s.numCompletedTasks for s in stages if s)
        total = sum(s.numTasks for s in stages if s)
        return f"{done}/{total} tasks" if total else ""

    return text
