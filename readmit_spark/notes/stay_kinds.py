"""What a stay was: planned, of a newborn, for observation. Every condition is never null."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.storage.codes import is_one_of, known_types


def is_planned(config: Config) -> Column:
    """Return whether a stay was planned: by PLANNED, else by ADMISSION_TYPE."""
    return _said("planned", is_one_of("admission_type", config.codes.planned))


def plan_is_unknown(config: Config) -> Column:
    """Return whether nobody says if a stay was planned. It counts as unplanned."""
    without_type = ~is_one_of("admission_type", known_types(config.codes))
    said = F.col("planned").isNotNull()
    return (said & F.col("planned").eqNullSafe("unknown")) | (~said & without_type)


def is_newborn(config: Config) -> Column:
    """Return whether a stay is that of a birth: by NEWBORN, else by ADMISSION_TYPE."""
    return _said("newborn", is_one_of("admission_type", config.codes.newborn))


def is_no_admission(config: Config) -> Column:
    """Return whether a stay was for observation, with `label.observation=exclude`."""
    excluded = F.lit(config.label.observation == "exclude")
    return excluded & F.col("stay").eqNullSafe("observation")


def _said(column: str, otherwise: Column) -> Column:
    return F.when(F.col(column).isNotNull(), F.col(column) == "yes").otherwise(otherwise)
