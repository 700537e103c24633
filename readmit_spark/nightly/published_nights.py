"""Find the published nights and read their tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.driver_table import empty_table
from readmit_spark.storage.files import open_files
from readmit_spark.storage.manifests import Night
from readmit_spark.storage.output_tables import NIGHTLY
from readmit_spark.storage.run import Run

NIGHT_NAME = "%Y-%m-%dT%H%M%S"  # sorts by time; Hadoop allows no colon in a path
_RECORD = re.compile(r"(\d{4}-\d\d-\d\dT\d{6})\.json")


def night_name(as_of: datetime) -> str:
    """Return the name of the night's manifest."""
    # Not by strftime, which writes the year 1 as "1".
    return f"{Night.JOB}/{as_of.isoformat(timespec='seconds').replace(':', '')}"


def tables_of_nights(spark: SparkSession, nights: Sequence[Night], name: str) -> DataFrame:
    """Read the table `name` of many nights as one table, with a column `night` that sorts by time.

    All files are read at once, because planning a union takes time for each table.
    """
    schema = NIGHTLY[name].schema
    if not nights:
        return empty_table(spark, schema).withColumn("night", F.lit(""))
    rows = spark.read.schema(schema).parquet(*(f"{night.path}/{name}" for night in nights))
    night = F.regexp_extract("_metadata.file_path", rf".*/{Night.JOB}/([^/]+)/[^/]+/{name}/", 1)
    return rows.withColumn("night", night)


def table_of_night(spark: SparkSession, night: Night | None, name: str) -> DataFrame:
    """The table `name` of a night; without a night, the same columns and no rows."""
    return night.table(name) if night else empty_table(spark, NIGHTLY[name].schema)


@dataclass(frozen=True)
class Nights:
    """The complete nights up to an as-of time.

    own: the night of that time, if it was published before. previous: the one before it. used: the
    nights whose chunks can be reused, the latest first, `own` included. later: the time of the last
    night after it; None if there is none.
    """

    own: Night | None
    previous: Night | None
    used: list[Night]
    later: datetime | None


def find_nights(
    run: Run, as_of: datetime, lookback: int, tables: Sequence[str] = ("chunks",)
) -> Nights:
    """Find the night of `as_of` and at most `lookback` earlier ones.

    A damaged night, and a file that is no night's manifest, are left out, and a progress line names
    them.

    tables: the tables that must be complete in all nights but the latest. The latest night must be
    complete.
    """
    times = _published_times(run)
    earlier: list[Night] = []
    own = None
    for time in (time for time in times if time <= as_of):
        if len(earlier) == lookback:
            break
        # On S3, checking a table costs some requests.
        night = _read_night(run, time, tables if earlier else None)
        if night and time == as_of:
            own = night
        elif night:
            earlier.append(night)
    later = (time for time in times if time > as_of and _read_night(run, time, tables=()))
    return Nights(
        own,
        earlier[0] if earlier else None,
        [own, *earlier] if own else earlier,
        next(later, None),
    )


def _published_times(run: Run) -> list[datetime]:
    """Return the times in the names of the nights' manifests, the latest first."""
    folder = f"_manifests/{Night.JOB}"
    names = open_files(run.spark, run.config.output_root).names(folder)
    times, others = [], []
    for name in names:
        record = _RECORD.fullmatch(name)
        try:
            times.append(datetime.strptime(record[1] if record else name, NIGHT_NAME))
        except ValueError:
            others.append(name)
    if others:
        run.say(f"{folder}: left out, because no night has this name: {', '.join(others)}")
    return sorted(times, reverse=True)


def _read_night(run: Run, time: datetime, tables: Sequence[str] | None) -> Night | None:
    """Read a night; return None, and say why, if it is damaged."""
    try:
        night = Night.read(run.spark, run.config.output_root, night_name(time), tables)
        if night.as_of != time:
            raise UserError(f"its manifest is that of {night.as_of}")
    except UserError as error:
        run.say(f"the night of {time} is left out: {error}")
        return None
    return night


def restore_root_copies(run: Run, nights: Nights, names: Sequence[str]) -> None:
    """Copy the last night's files to the root again: a run that died may have left older ones."""
    if nights.own and nights.later is None:
        run.restore_root_copies(nights.own.run, names)
