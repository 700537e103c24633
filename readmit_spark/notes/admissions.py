"""Read all admissions, and check that the file was read completely and understood."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.notes.cohort import distinct_admissions
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.codes import known_types, unknown_values
from readmit_spark.storage.input_tables import read_admissions
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.unread import CodeColumn, report_unread, unread_counts

_KEY = "data.admissions"


def all_admissions(
    spark: SparkSession, config: Config, say: Callable[[str], None]
) -> tuple[DataFrame, dict[str, int]]:
    """Return the distinct rows of data.admissions, and counts of the rows before: rows, the unread
    values of each column (NAME_unread) and the placeholders (NAME_placeholder).

    Raise a UserError if there is no row, the file cannot be read completely, or too many values of
    a column are not understood. Print a line if any is not.
    """
    path = required(config.data.admissions, _KEY)
    expected = expected_records(spark, path, _KEY)
    read = read_admissions(spark, path, Reading.of(config))
    types = CodeColumn("admission_type", known_types(config.codes))
    placeholders = {
        f"{name}_placeholder": F.col("placeholder")[name] for name in ("dischtime", "deathtime")
    }
    first = read.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        *unread_counts(read, types),
        *(F.count(F.when(found, 1)).alias(name) for name, found in placeholders.items()),
    ).first()
    assert first is not None  # an aggregate without groups always has one row
    counts = first.asDict()
    if counts["rows"] == 0:
        raise UserError(f"{_KEY}: {path} has no rows")
    check_records(path, _KEY, expected, counts["rows"], counts["malformed"])
    unknown = ""
    if counts["admission_type_unread"]:
        unknown = unknown_values(read, types.name, types.known)
    unread = report_unread(_KEY, path, counts, config.data.max_unread_share, say, unknown)
    facts = {"rows": counts["rows"], **unread, **{name: counts[name] for name in placeholders}}
    return distinct_admissions(read.drop("malformed")), facts
