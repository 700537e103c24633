"""Read all admissions, and check that the file was read completely."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.notes.cohort import distinct_admissions
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.input_tables import read_admissions
from readmit_spark.storage.parquet_columns import Reading


def all_admissions(spark: SparkSession, config: Config) -> tuple[DataFrame, int]:
    """Return the distinct rows of data.admissions, and the number of rows before.

    Raise a UserError if there is no row or the file cannot be read completely.
    """
    path = required(config.data.admissions, "data.admissions")
    expected = expected_records(spark, path, "data.admissions")
    read = read_admissions(spark, path, Reading.of(config))
    found = read.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        F.count("hadm_id"),  # Spark refuses a query of a CSV's broken records alone
    ).first()
    assert found is not None  # an aggregate without groups always has one row
    rows = found["rows"]
    if rows == 0:
        raise UserError(f"data.admissions: {path} has no rows")
    check_records(path, "data.admissions", expected, rows, found["malformed"])
    return distinct_admissions(read.drop("malformed")), rows
