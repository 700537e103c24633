"""Read data.notes together with checks that no note was lost and that its values are understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.codes import known_categories, unknown_values
from readmit_spark.storage.input_tables import read_notes
from readmit_spark.storage.note_lines import join_lines
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.text_forms import form_counts, forms_line, only_forms
from readmit_spark.storage.unread import CodeColumn, report_unread, unread_counts

_KEY = "data.notes"


@dataclass(frozen=True)
class CheckedNotes:
    """Notes and what is needed to check them.

    rows: columns of `read_notes`, with data.note_line joined to notes (`note_lines.py`); source: as
    read, without counting; expected: records of the CSV
    by its quotes, None for Parquet; counts: metrics that Spark fills when `rows` are computed.
    """

    rows: DataFrame
    source: DataFrame
    path: str
    expected: int | None
    counts: Observation
    config: Config

    def check(self, say: Callable[[str], None]) -> dict[str, int]:
        """Return the number of notes, of unread values by column (NAME_unread), and of texts that
        are not plain (text_rtf, text_html, text_not_utf8).

        Raise a UserError if the CSV parser lost, merged or split notes, or if too many values of a
        column are not understood. Print a line if any is not, or if a text is not plain. Call after
        a table was written from `rows` and before publishing.
        """
        counts = self.counts.get
        check_records(self.path, _KEY, self.expected, counts["notes"], counts["malformed"])
        unknown = ""
        if counts["category_unread"]:
            known = known_categories(self.config.codes)
            unknown = unknown_values(self.source, "category", known)
        share = self.config.data.max_unread_share
        unread = report_unread(_KEY, self.path, counts, share, say, unknown)
        line = forms_line(_KEY, counts)
        if line:
            say(line)
        return {"notes": counts["notes"], **unread, **only_forms(counts)}


def read_checked_notes(spark: SparkSession, config: Config) -> CheckedNotes:
    """Read data.notes.

    Raise a UserError if the table is missing or cut off, lacks columns or has a misplaced quote.
    These checks come first because Spark's own messages could contain note text.
    """
    path, counts = required(config.data.notes, _KEY), Observation("checked_notes")
    source = read_notes(spark, path, Reading.of(config))
    expected = expected_records(spark, path, _KEY)
    category = CodeColumn("category", known_categories(config.codes))
    observed = source.observe(
        counts,
        F.count(F.lit(1)).alias("notes"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        *unread_counts(source, category),
        *form_counts(),
    )
    rows = join_lines(observed) if config.data.note_line else observed
    return CheckedNotes(rows, source, path, expected, counts, config)
