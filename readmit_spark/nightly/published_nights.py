"""The nights that were published: what a night finds of those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.publish import manifest

JOB = "nightly"
NIGHT_NAME = "%Y-%m-%dT%H%M%S"  # sorts by time; Hadoop allows no colon in a path


@dataclass(frozen=True)
class PublishedNight:
    """A complete night; facts: its manifest."""

    as_of: datetime
    facts: dict[str, Any]

    def table(self, spark: SparkSession, name: str) -> DataFrame:
        return spark.read.parquet(f"{self.facts['path']}/{name}")


def tables_of(
    spark: SparkSession, nights: Sequence[PublishedNight], name: str, schema: StructType
) -> DataFrame:
    """The tables `name` of many nights as one, and `night`, which sorts by time. One read of all
    files: a union of tables costs their planning one by one."""
    if not nights:
        return spark.createDataFrame([], schema).withColumn("night", F.lit(""))
    every = spark.read.schema(schema).parquet(*(f"{n.facts['path']}/{name}" for n in nights))
    night = F.regexp_extract("_metadata.file_path", rf".*/{JOB}/([^/]+)/[^/]+/{name}/", 1)
    return every.withColumn("night", night)


def night_name(as_of: datetime) -> str:
    """The night's name among the manifests."""
    return f"{JOB}/{as_of:{NIGHT_NAME}}"


@dataclass(frozen=True)
class Nights:
    """The complete nights that the one of `as_of` finds.

    own: its own result, where it was published before. previous: the one before it. used: those
    whose chunks are used again, the latest first, its own among them. is_last: none is later.
    """

    own: PublishedNight | None
    previous: PublishedNight | None
    used: list[PublishedNight]
    is_last: bool


def find_nights(
    spark: SparkSession,
    root: str,
    as_of: datetime,
    lookback: int,
    say: Callable[[str], None],
    tables: Sequence[str] = ("chunks",),
) -> Nights:
    """A night that is damaged is left out, and said so: its scores are computed again.

    tables: those that are read of older nights, which must be whole; of the last night all must be.
    """
    names = Files(spark, root).names(f"_manifests/{JOB}")
    times = [
        datetime.strptime(n.removesuffix(".json"), NIGHT_NAME) for n in names if n.endswith(".json")
    ]
    found: list[PublishedNight] = []
    own = None
    for time in sorted((time for time in times if time <= as_of), reverse=True):
        if len(found) == lookback:
            break
        # On S3 each table that is looked at is some requests.
        needed = tables if found else None
        try:
            night = PublishedNight(time, manifest(spark, root, night_name(time), needed))
        except UserError as error:
            say(f"the night of {time} is left out: {error}")
            continue
        if time == as_of:
            own = night
        else:
            found.append(night)
    return Nights(
        own,
        found[0] if found else None,
        [own, *found] if own else found,
        is_last=all(time <= as_of for time in times),
    )


def put_front_again(spark: SparkSession, root: str, nights: Nights, names: Sequence[str]) -> None:
    """The root's copies of the last night's files: a run that died may have left older ones."""
    if nights.own and nights.is_last:
        files = Files(spark, root)
        for name in names:
            files.write(name, files.read(f"{nights.own.facts['run']}/{name}"))
