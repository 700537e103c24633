"""The nights that were published: what a night finds of those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.errors import UserError
from readmit_spark.spark.files import Files
from readmit_spark.spark.publish import manifest

JOB = "nightly"
_NAME = "%Y-%m-%dT%H%M%S"  # sorts by time; Hadoop allows no colon in a path


@dataclass(frozen=True)
class PublishedNight:
    """A complete night; facts: its manifest."""

    as_of: datetime
    facts: dict[str, Any]

    def table(self, spark: SparkSession, name: str) -> DataFrame:
        return spark.read.parquet(f"{self.facts['path']}/{name}")


def night_name(as_of: datetime) -> str:
    """The night's name among the manifests."""
    return f"{JOB}/{as_of:{_NAME}}"


def published_nights(
    spark: SparkSession, root: str, up_to: datetime, most: int, say: Callable[[str], None]
) -> list[PublishedNight]:
    """The last `most` complete nights up to and with `up_to`, the latest first.

    One that is damaged is left out, and said so: scores are then computed again.
    """
    names = Files(spark, root).names(f"_manifests/{JOB}")
    times = [
        datetime.strptime(n.removesuffix(".json"), _NAME) for n in names if n.endswith(".json")
    ]
    found = []
    for as_of in sorted((time for time in times if time <= up_to), reverse=True)[:most]:
        try:
            found.append(PublishedNight(as_of, manifest(spark, root, night_name(as_of))))
        except UserError as error:
            say(f"the night of {as_of} is left out: {error}")
    return found


def tables(spark: SparkSession, nights: Sequence[PublishedNight], name: str) -> list[DataFrame]:
    return [night.table(spark, name) for night in nights]
