"""Small tables whose rows are in the driver: Spark computes them once and joins them without files.

Only for tables of at most one row for each patient in the house, without times.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T


def keep_in_driver(frame: DataFrame) -> tuple[DataFrame, int]:
    """Compute the rows of a small table; return the table and its number of rows."""
    rows = frame._jdf.collectAsList()  # they stay in Java
    table = frame.sparkSession._jsparkSession.createDataFrame(rows, frame._jdf.schema())
    return DataFrame(table, frame.sparkSession), rows.size()


def empty_table(spark: SparkSession, schema: T.StructType) -> DataFrame:
    """Return a table without rows. Spark does no work for what is joined with it."""
    java = spark._jsparkSession
    rows = spark._jvm.java.util.ArrayList()
    return DataFrame(java.createDataFrame(rows, java.parseDataType(schema.json())), spark)
