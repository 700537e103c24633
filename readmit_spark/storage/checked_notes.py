"""Read data.notes together with a check that the CSV parser lost no note."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.input_tables import read_notes
from readmit_spark.storage.parquet_columns import Reading

_KEY = "data.notes"


@dataclass(frozen=True)
class CheckedNotes:
    """Notes and what is needed to check them.

    rows: columns of `read_notes`; expected: records of the CSV by its quotes, None for Parquet;
    counts: metrics that Spark fills when `rows` are computed.
    """

    rows: DataFrame
    path: str
    expected: int | None
    counts: Observation

    def check(self) -> None:
        """Raise a UserError if the CSV parser lost, merged or split notes.

        Call after a table was written from `rows` and before publishing.
        """
        counts = self.counts.get
        check_records(self.path, _KEY, self.expected, counts["notes"], counts["malformed"])


def read_checked_notes(spark: SparkSession, config: Config) -> CheckedNotes:
    """Read data.notes.

    Raise a UserError if the table is missing or cut off, lacks columns or has a misplaced quote.
    These checks come first because Spark's own messages could contain note text.
    """
    path, counts = required(config.data.notes, _KEY), Observation("checked_notes")
    rows = read_notes(spark, path, Reading.of(config))
    expected = expected_records(spark, path, _KEY)
    observed = rows.observe(
        counts,
        F.count(F.lit(1)).alias("notes"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
    )
    return CheckedNotes(observed, path, expected, counts)
