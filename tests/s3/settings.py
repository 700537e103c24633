"""Spark settings that load the S3 connector and point it to a server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def spark_settings(jars: Sequence[Path], address: str) -> dict[str, str]:
    """Return conf/spark-s3.conf with the connector's `jars` and a server without TLS."""
    lines = (ROOT / "conf" / "spark-s3.conf").read_text().splitlines()
    shipped = dict(line.split() for line in lines if line and not line.startswith("#"))
    return {
        **shipped,
        "spark.jars": ",".join(map(str, jars)),
        "spark.hadoop.fs.s3a.endpoint": address,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
    }


def submit_arguments(settings: Mapping[str, str]) -> str:
    """Return the settings as a value of PYSPARK_SUBMIT_ARGS."""
    options = [f"--conf {shlex.quote(f'{key}={value}')}" for key, value in settings.items()]
    return " ".join([*options, "pyspark-shell"])
