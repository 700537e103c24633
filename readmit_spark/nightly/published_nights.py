"""Find the published nights and read their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.manifests import Night
from readmit_spark.storage.output_tables import NIGHTLY
from readmit_spark.storage.run import Run

NIGHT_NAME = "%Y-%m-%dT%H%M%S"  # sorts by time; Hadoop allows no colon in a path


def night_name(as_of: datetime) -> str:
    """Return the name of the night's manifest."""
    return f"{Night.JOB}/{as_of:{NIGHT_NAME}}"


def tables_of_nights(spark: SparkSession, nights: Sequence[Night], name: str) -> DataFrame:
    """Read the table `name` of many nights as one table, with a column `night` that sorts by time.

    All files are read at once, because planning a union takes time for each table.
    """
    schema = NIGHTLY[name].schema
    if not nights:
        return spark.createDataFrame([], schema).withColumn("night", F.lit(""))
    rows = spark.read.schema(schema).parquet(*(f"{night.path}/{name}" for night in nights))
    night = F.regexp_extract("_metadata.file_path", rf".*/{Night.JOB}/([^/]+)/[^/]+/{name}/", 1)
    return rows.withColumn("night", night)


def table_of_night(spark: SparkSession, night: Night | None, name: str) -> DataFrame:
    """The table `name` of a night; without a night, the same columns and no rows."""
    return night.table(name) if night else spark.createDataFrame([], NIGHTLY[name].schema)


@dataclass(frozen=True)
class Nights:
    """The complete nights up to an as-of time.

    own: the night of that time, if it was published before. previous: the one before it. used: the
    nights whose chunks can be reused, the latest first, `own` included. is_last: no later night was
    published.
    """

    own: Night | None
    previous: Night | None
    used: list[Night]
    is_last: bool


def find_nights(
    run: Run, as_of: datetime, lookback: int, tables: Sequence[str] = ("chunks",)
) -> Nights:
    """Find the night of `as_of` and at most `lookback` earlier ones.

    A damaged night is left out, and a progress line says so.

    tables: the tables that must be complete in all nights but the latest. The latest night must be
    complete.
    """
    root = run.config.output_root
    names = Files(run.spark, root).names(f"_manifests/{Night.JOB}")
    times = [
        datetime.strptime(n.removesuffix(".json"), NIGHT_NAME) for n in names if n.endswith(".json")
    ]
    earlier: list[Night] = []
    own = None
    for time in sorted((time for time in times if time <= as_of), reverse=True):
        if len(earlier) == lookback:
            break
        # On S3, checking a table costs some requests.
        checked = tables if earlier else None
        try:
            night = Night.read(run.spark, root, night_name(time), checked)
        except UserError as error:
            run.say(f"the night of {time} is left out: {error}")
            continue
        if time == as_of:
            own = night
        else:
            earlier.append(night)
    return Nights(
        own,
        earlier[0] if earlier else None,
        [own, *earlier] if own else earlier,
        is_last=all(time <= as_of for time in times),
    )


def restore_root_copies(run: Run, nights: Nights, names: Sequence[str]) -> None:
    """Copy the last night's files to the root again: a run that died may have left older ones."""
    if nights.own and nights.is_last:
        files = Files(run.spark, run.config.output_root)
        for name in names:
            files.write(name, files.read(f"{nights.own.run}/{name}"))
