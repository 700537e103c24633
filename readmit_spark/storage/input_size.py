"""Let Spark's settings for queries follow the size of a job's input.

Spark's own values suit tables of gigabytes. With the few megabytes of a night, two hundred
partitions, adaptive planning (a job of its own for each shuffle) and compiled expressions cost far
more than the rows.
"""

from __future__ import annotations

import math

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.storage.input_files import stored_bytes

_COMPRESSED = 4  # bytes of text in a byte of a Parquet or a .gz file
# Bytes of text; for fewer, compiling an expression takes longer than evaluating it.
_SMALL = 64 << 20
_LEAST, _MOST = 4 << 20, 64 << 20  # bytes of a partition, before all cores have one, and after

_PARTITIONS = "spark.sql.shuffle.partitions"
_ADAPTIVE = "spark.sql.adaptive.enabled"
_COMPILED = "spark.sql.codegen.factoryMode"


def fit_to_input(spark: SparkSession, config: Config) -> None:
    """Set the number of partitions and the way of planning for the size of the input tables.

    What spark-submit was given stays. Where the size is unknown, Spark's own values apply.
    """
    size = _bytes_of_text(spark, config)
    values = {}
    if size:
        values[_PARTITIONS] = str(partitions(size, spark.sparkContext.defaultParallelism))
    if 0 < size <= _SMALL:
        values |= {_ADAPTIVE: "false", _COMPILED: "NO_CODEGEN"}
    given = spark.sparkContext.getConf()
    for key in (_PARTITIONS, _ADAPTIVE, _COMPILED):
        if given.contains(key):
            continue
        if key in values:
            spark.conf.set(key, values[key])
        else:
            spark.conf.unset(key)


def partitions(size: int, slots: int) -> int:
    """Return the number of partitions of `size` bytes of text on so many cores.

    >>> [partitions(size << 20, slots=16) for size in (1, 10, 1_000, 100_000)]
    [1, 3, 16, 1563]
    """
    return max(min(slots, math.ceil(size / _LEAST)), math.ceil(size / _MOST))


def _bytes_of_text(spark: SparkSession, config: Config) -> int:
    """Return about how many bytes of text the input tables have; 0 if that is not known."""
    total = 0
    for path in (config.data.admissions, config.data.notes):
        try:
            stored = stored_bytes(spark, path) if path else 0
        except Py4JJavaError:  # the reader of the table says what is wrong
            return 0
        total += stored if path and path.lower().endswith(".csv") else _COMPRESSED * stored
    return total
