"""Spark options for test programs: their data are tiny, so starting and compiling cost the most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Java's second compiler only for what runs very often: it pays off in a process that tests for many
# minutes, and would take half of a short program's time. This option replaces the session's own, so
# it names the file with the log levels again. Java's 48 MB for compiled code would be full of
# Spark's classes after some minutes: then Java looks for code to drop, and stops compiling.
JAVA_OPTIONS = (
    f"-Dlog4j2.configurationFile={(ROOT / 'conf' / 'log4j2.properties').as_uri()}"
    " -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000"
    " -XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
    " -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m"
)
# A task costs more than its few rows, and compiling a stage costs more than running it. Equal code
# is compiled once: many tests run the same job, and Spark keeps only 100 classes.
_SETTINGS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.cache.maxEntries": "5000",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.ui.enabled": "false",
}


def submit_options(settings: Mapping[str, str] | None = None) -> list[str]:
    """Return spark-submit options for a short program, with further Spark settings."""
    options = ["--driver-java-options", JAVA_OPTIONS]
    for key, value in {**_SETTINGS, **(settings or {})}.items():
        options += ["--conf", f"{key}={value}"]
    return options


def submit_arguments(settings: Mapping[str, str] | None = None) -> str:
    """Return the same as a value of PYSPARK_SUBMIT_ARGS."""
    quoted = (f'"{option}"' if " " in option else option for option in submit_options(settings))
    return " ".join([*quoted, "pyspark-shell"])
