"""The notes, and whether all of them were read: what every job that reads them asks of a CSV."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.storage.check_csv import check_records, csv_records
from readmit_spark.storage.input_tables import read_notes

_KEY = "data.notes"


@dataclass(frozen=True)
class CheckedNotes:
    """rows: of `read_notes`. expected: how many there are by the quotes of a CSV, else None."""

    rows: DataFrame
    path: str
    expected: int | None
    counts: Observation

    def check(self) -> None:
        """The UserError of `check_records`. To be asked when a table has been made of `rows`, and
        before anything is published that comes of it."""
        found = self.counts.get
        check_records(self.path, _KEY, self.expected, found["notes"], found["malformed"])


def read_checked_notes(spark: SparkSession, config: Config) -> CheckedNotes:
    """data.notes. UserError where it is not there, lacks columns, breaks off or has a quote too
    few: what the CSV parser would say of that, later, holds text."""
    path, counts = required(config.data.notes, _KEY), Observation("whole")
    rows = read_notes(spark, path)
    expected = csv_records(spark, path, _KEY)
    seen = rows.observe(
        counts,
        F.count(F.lit(1)).alias("notes"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
    )
    return CheckedNotes(seen, path, expected, counts)
