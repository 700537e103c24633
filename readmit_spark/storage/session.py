"""Build the Spark session with the settings that the results depend on."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pyspark import SparkConf
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.java import java_home
from readmit_spark.storage.local_modes import set_modes_in_java
from readmit_spark.storage.scratch import make_scratch

# These override the defaults of a cluster.
_SETTINGS = {
    # MIMIC's times have no time zone. UTC has no daylight saving time that would change a length
    # of stay.
    "spark.sql.session.timeZone": "UTC",
    # pandas writes nanoseconds, for which Spark has no type. They are read as numbers and then
    # converted (see parquet_columns).
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Documents differ much in size. Small Arrow batches limit the memory of a worker.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    # This rule removes empty branches of a plan and their Observation metrics.
    "spark.sql.adaptive.optimizer.excludedRules": (
        "org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"
    ),
    # Texts and token ids take a third less than with Spark's own choice, as fast.
    "spark.sql.parquet.compression.codec": "zstd",
    # The jobs print their own progress, in lines that also suit a log file.
    "spark.ui.showConsoleProgress": "false",
}

# These apply where spark-submit brings no other value.
_DEFAULTS = {
    # Training that needs more slots than the cluster has fails within seconds; Spark's default is
    # 40 checks, 15 s apart. Several checks, because executors may still be starting. On EMR the
    # checks go on for as long as GPU nodes may take to arrive.
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "3s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "5",
}

# For a plain Python program on one machine; spark-submit brings its own settings.
_LOCAL_SETTINGS = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}

# Java's second compiler takes half of a short job's time, and pays off only in code that runs a
# hundred thousand times. These are twenty times Java's own thresholds.
_LATE_COMPILATION = (
    "-XX:Tier4InvocationThreshold=100000 -XX:Tier4MinInvocationThreshold=12000 "
    "-XX:Tier4CompileThreshold=300000 -XX:Tier4BackEdgeThreshold=800000"
)

# The exception that reaches the driver names the cause of a failed task. These loggers would repeat
# it with long stack traces, and the stack trace of a parser may contain note text.
_SILENCED_LOGGERS = (
    "org.apache.spark.api.python.PythonRunner",
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.sql.execution.python.ArrowPythonRunner",
    "org.apache.spark.sql.execution.datasources.FileFormatWriter",
    "org.apache.spark.util.Utils",
)

# A job that hangs for want of machines is explained by these loggers alone. They hold no text.
_WARNING_LOGGERS = (
    "org.apache.spark.deploy.yarn",
    "org.apache.spark.scheduler.TaskSchedulerImpl",
    "org.apache.spark.scheduler.cluster",
)

# PySpark asks for these by name at each expression, and each time Java would look for them in every
# package and jar: a quarter of what the driver does in a small job.
_CLASSES = ("functions", "PythonUtils", "SparkSession")

_T = TypeVar("_T")

_LOG4J = Path(__file__).parents[2] / "conf" / "log4j2.properties"


def build_session(app: str) -> SparkSession:
    """Return the Spark session of this process; keep master and resources set by spark-submit."""
    builder = SparkSession.builder.appName(app)
    if not _is_submitted():
        # A plain Python program: it starts Java itself, and the workers must use the same
        # interpreter, which has this package.
        # A JAVA_HOME that names no supported Java is passed over.
        os.environ["JAVA_HOME"] = str(java_home(os.environ))
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        for key, value in _LOCAL_SETTINGS.items():
            builder = builder.config(key, value)
        java = _LATE_COMPILATION
        if _LOG4J.exists():  # only in a clone; covers log lines before the session exists
            java = f"{java} -Dlog4j2.configurationFile={_LOG4J.as_uri()}"
        builder = builder.config("spark.driver.extraJavaOptions", java)
    settings = {**_DEFAULTS, **_submitted(_DEFAULTS), **_SETTINGS, **_privacy_settings()}
    for key, value in settings.items():
        builder = builder.config(key, value)
    with _interrupts_deferred():
        session = builder.getOrCreate()
    # EMR configures s3:// itself. Elsewhere no file system is registered for it.
    hadoop = session._jsc.hadoopConfiguration()
    hadoop.setIfUnset("fs.s3.impl", "org.apache.hadoop.fs.s3a.S3AFileSystem")
    set_modes_in_java(session)
    session.sparkContext.setLogLevel("ERROR")
    log4j = session._jvm.org.apache.logging.log4j
    for logger in _SILENCED_LOGGERS:
        log4j.core.config.Configurator.setLevel(logger, log4j.Level.OFF)
    for logger in _WARNING_LOGGERS:
        log4j.core.config.Configurator.setLevel(logger, log4j.Level.WARN)
    for name in _CLASSES:
        setattr(session._jvm, name, getattr(session._jvm, name))
    return session


def build_session_while(app: str, work: Callable[[], _T]) -> tuple[SparkSession, _T]:
    """Return the Spark session, and the result of `work`, which runs while Java starts."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(work)
        return build_session(app), result.result()


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Raise a KeyboardInterrupt only at the end, or as soon as Spark handles interrupts itself.

    A Java process that loses this program while it starts would fail, and then live on for ever.
    """
    interrupted = False

    def note(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # a Spark of this process handles them, or nobody
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


def _privacy_settings() -> dict[str, str]:
    """Return the settings that keep what Java writes from other users of the machine.

    Java's files get the modes of Python's. On one machine Spark's scratch files, which hold note
    text, are in a private folder; on a cluster they are where the cluster puts them.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    settings = {"spark.hadoop.fs.permissions.umask-mode": f"{umask:03o}"}
    master, folders = "spark.master", "spark.local.dir"
    submitted = _submitted((master, folders))
    if not submitted.get(master, "local").startswith("local"):
        return settings
    if _is_submitted() and os.environ.get("SPARK_LOCAL_DIRS"):  # Java prefers it to our folder
        raise UserError(
            "SPARK_LOCAL_DIRS is set, where other users could read Spark's scratch files: unset it "
            f"and give --conf spark.local.dir={os.environ['SPARK_LOCAL_DIRS']} to spark-submit"
        )
    places = os.environ.pop("SPARK_LOCAL_DIRS", "") or submitted.get(folders, "")
    scratch = [make_scratch(Path(p)) for p in (places or tempfile.gettempdir()).split(",")]
    for folder in scratch:
        atexit.register(folder.remove)
    return settings | {
        folders: ",".join(str(folder.path) for folder in scratch),
        "spark.hadoop.hadoop.tmp.dir": str(scratch[0].path),  # what waits to go to S3
        "spark.executorEnv.TMPDIR": tempfile.gettempdir(),
    }


def _is_submitted() -> bool:
    """Return whether Spark's Java started this program, also in the driver of a cluster."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _submitted(keys: Iterable[str]) -> dict[str, str]:
    """Return the values that spark-submit was given for these keys."""
    if not _is_submitted():
        return {}
    conf = SparkConf()  # of the Java process that spark-submit started
    return {key: str(conf.get(key)) for key in keys if conf.contains(key)}


def tasks_done(spark: SparkSession) -> Callable[[], str]:
    """Return a status for `Progress.stage`: finished tasks of the running Spark stages."""
    tracker = spark.sparkContext.statusTracker()

    def status() -> str:
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        done = sum(s.numCompletedTasks for s in stages if s)
        total = sum(s.numTasks for s in stages if s)
        return f"{done}/{total} tasks" if total else ""

    return status
