"""Read all admissions, and check that the file was read completely and understood."""

from __future__ import annotations

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import required
from readmit_spark.errors import UserError
from readmit_spark.notes.cohort import check_one_row_each, distinct_rows
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.codes import known_types, unknown_values
from readmit_spark.storage.input_tables import read_admissions
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.run import Run
from readmit_spark.storage.unread import CodeColumn, report_unread, unread_counts

_KEY = "data.admissions"


def all_admissions(run: Run) -> tuple[DataFrame, dict[str, int]]:
    """Return the distinct rows of data.admissions as a temporary table, and counts of the rows
    before: rows, the unread values of each column (NAME_unread) and the placeholders
    (NAME_placeholder).

    Raise a UserError if there is no row, the file cannot be read completely, too many values of a
    column are not understood, or a HADM_ID has different rows. Print a line if any value is not
    understood.
    """
    config = run.config
    path = required(config.data.admissions, _KEY)
    expected = expected_records(run.spark, path, _KEY)
    read = read_admissions(run.spark, path, Reading.of(config))
    types = CodeColumn("admission_type", known_types(config.codes))
    placeholders = {
        f"{name}_placeholder": F.col("placeholder")[name] for name in ("dischtime", "deathtime")
    }
    counted = Observation("admissions")
    observed = read.observe(
        counted,
        F.count(F.lit(1)).alias("rows"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        *unread_counts(read, types),
        *(F.count(F.when(found, 1)).alias(name) for name, found in placeholders.items()),
    )
    # Parsed once: many columns are checked in each row, and later steps read the table often.
    table = run.write_temp(distinct_rows(observed.drop("malformed")), "admissions_read")
    counts = counted.get
    if counts["rows"] == 0:
        raise UserError(f"{_KEY}: {path} has no rows")
    check_records(path, _KEY, expected, counts["rows"], counts["malformed"])
    unknown = ""
    if counts["admission_type_unread"]:
        unknown = unknown_values(read, types.name, types.known)
    unread = report_unread(_KEY, path, counts, config.data.max_unread_share, run.say, unknown)
    facts = {"rows": counts["rows"], **unread, **{name: counts[name] for name in placeholders}}
    check_one_row_each(table)
    return table, facts
