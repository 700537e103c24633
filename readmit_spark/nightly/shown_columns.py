"""Columns of ADMISSIONS or of another table that the list shows beside a patient: ward, bed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.nightly.worklist_page import CSV_COLUMNS
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.storage.input_tables import read_texts
from readmit_spark.storage.ward_actions import read_actions

_ACTION = "action"


def names_of_columns(config: Config) -> tuple[str, ...]:
    """Return the names of `nightly.columns`, and `action` where there are `nightly.actions`."""
    return (*(config.nightly.columns or ()), *((_ACTION,) if config.nightly.actions else ()))


def shown_columns(
    spark: SparkSession, config: Config, house: DataFrame, as_of: datetime
) -> dict[int, dict[str, str]]:
    """Return hadm_id -> name -> value of `names_of_columns`, for the patients in the house.

    The action is the last one by `as_of`. Errors: as `_places` and `read_actions`.
    """
    values = _places(spark, config, house)
    if config.nightly.actions:
        done = read_actions(spark, config).where(F.col("time") <= timestamp(as_of))
        last = done.groupBy("hadm_id").agg(F.max_by("action", F.struct("time", "action")))
        here = last.join(F.broadcast(house.select("hadm_id")), "hadm_id", "left_semi")
        for hadm_id, action in here.collect():
            values.setdefault(hadm_id, {})[_ACTION] = action
    return values


def _places(spark: SparkSession, config: Config, house: DataFrame) -> dict[int, dict[str, str]]:
    """Return hadm_id -> name -> value of `nightly.columns`, for the patients in the house.

    Values that are missing or blank are left out. Raise a UserError if a column is missing, has the
    name of one of the CSV's own, or if an admission has rows that differ.
    """
    columns = config.nightly.columns
    if not columns:
        return {}
    _check_names(columns)
    table = config.nightly.columns_table
    key, path = "data.admissions", config.data.admissions
    if table:
        key, path = "nightly.columns_table", table
    rows = (
        read_texts(spark, config, key, path, columns)
        .join(F.broadcast(house.select("hadm_id")), "hadm_id", "left_semi")
        .distinct()
        .collect()
    )
    twice = len(rows) - len({row["hadm_id"] for row in rows})
    if twice:
        raise UserError(
            f"{key}: {path} has {twice:,} further rows of patients in the house that differ in "
            f"{', '.join(columns)}: one row an admission is needed, such as the place of tonight"
        )
    return {row["hadm_id"]: {name: row[name] for name in columns if row[name]} for row in rows}


def _check_names(columns: Sequence[str]) -> None:
    own = [name for name in columns if name.strip().lower() in (*CSV_COLUMNS, _ACTION)]
    if own:
        raise UserError(f"nightly.columns: {', '.join(own)}: the list has a column of this name")
    folded = [name.strip().upper() for name in columns]
    if len(set(folded)) < len(folded):
        raise UserError("nightly.columns lists a column twice")
