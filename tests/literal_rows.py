"""Tables from literal rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def with_stay_facts(admissions: DataFrame) -> DataFrame:
    """Add the optional columns of ADMISSIONS, empty."""
    kinds = dict.fromkeys(("planned", "newborn", "stay", "discharge_to"), "string")
    columns = {name: F.lit(None).cast(kind) for name, kind in {**kinds, "died": "date"}.items()}
    return admissions.withColumns(columns)


def literal_rows(spark: SparkSession, rows: Iterable[tuple[Any, ...]], schema: str) -> DataFrame:
    """Make a table of these rows. schema: "name type, name type", without nested types.

    Times go through text: `createDataFrame` would shift them by this machine's time zone.
    """
    texts = [tuple(str(v) if isinstance(v, datetime) else v for v in row) for row in rows]
    kinds = dict(column.split() for column in schema.split(", "))
    stored = {name: "string" if kind == "timestamp" else kind for name, kind in kinds.items()}
    table = spark.createDataFrame(texts, ", ".join(f"{n} {kind}" for n, kind in stored.items()))
    return table.select(*(F.col(name).cast(kind) for name, kind in kinds.items()))
