"""Small tables whose rows are in the driver."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.storage.driver_table import empty_table, keep_in_driver

pytestmark = pytest.mark.spark4

SCHEMA = "hadm_id long, document string, n_notes int"


def test_the_rows_are_computed_once_and_keep_their_values_and_types(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(2**62, "é", 1), (None, None, None)], SCHEMA)
    drawn = frame.withColumn("draw", F.rand())
    table, n = keep_in_driver(drawn)
    assert (n, table.schema) == (2, drawn.schema)
    rows = sorted(table.collect(), key=str)
    assert rows == sorted(table.collect(), key=str)
    assert {tuple(row)[:3] for row in rows} == {(2**62, "é", 1), (None, None, None)}
    assert table.join(frame.where("n_notes = 1"), "hadm_id").count() == 1
    nobody, n = keep_in_driver(frame.where("n_notes > 1"))
    assert (n, nobody.count(), nobody.schema) == (0, 0, frame.schema)


def test_an_empty_table_has_its_columns(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, "a", 1)], SCHEMA)
    table = empty_table(spark, frame.schema)
    assert (table.schema, table.count()) == (frame.schema, 0)
    assert frame.join(table, "hadm_id", "left_anti").count() == 1
