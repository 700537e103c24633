"""Spark's own S3 connector on an S3 server of this machine, with a proxy that injects faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.s3.proxy import FaultyProxy
from tests.s3.settings import ROOT, spark_settings, submit_arguments

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JARS = ROOT / "build" / "s3"


@pytest.fixture(scope="session")
def connector() -> list[Path]:
    """The jars of the S3 connector that fits Spark 3.5."""
    import pyspark
    from pyspark.sql import SparkSession

    jars = sorted(JARS.glob("*.jar"))
    if len(jars) < 2:
        pytest.skip("Spark's S3 connector is not here: `make test-s3` gets it from PyPI")
    if not pyspark.__version__.startswith("3.5."):
        pytest.skip("the S3 connector that PyPI has is for Spark 3.5")
    if SparkSession.getActiveSession():
        pytest.skip("this process has a Spark without the S3 connector: run `make test-s3`")
    return jars


@pytest.fixture(scope="session")
def proxy(s3_server: str) -> Iterator[FaultyProxy]:
    """The proxy that all S3 clients use as S3."""
    proxy = FaultyProxy(s3_server)
    os.environ["AWS_ENDPOINT_URL"] = proxy.address
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def s3_settings(connector: list[Path], proxy: FaultyProxy) -> dict[str, str]:
    """Spark settings for S3 with few retries: with the defaults, faults take minutes."""
    return {
        **spark_settings(connector, proxy.address),
        # Compiled code runs only once or twice here.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.codegen.wholeStage": "false",
        "spark.hadoop.fs.s3a.attempts.maximum": "4",
        "spark.hadoop.fs.s3a.retry.limit": "4",
        "spark.hadoop.fs.s3a.retry.interval": "50ms",
        "spark.hadoop.fs.s3a.retry.throttle.limit": "4",
        "spark.hadoop.fs.s3a.retry.throttle.interval": "50ms",
    }


@pytest.fixture(scope="session")
def spark(s3_settings: dict[str, str]) -> Iterator[SparkSession]:
    from readmit_spark.storage.session import build_session

    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(s3_settings)
    session = build_session("tests")
    del os.environ["PYSPARK_SUBMIT_ARGS"]
    yield session
    session.stop()


@pytest.fixture
def ward(bucket: str, proxy: FaultyProxy) -> Iterator[str]:
    """s3a://ward, empty, behind a proxy without faults. Both are reset after the test."""
    proxy.calm()
    yield bucket.replace("s3://", "s3a://")
    proxy.calm()
