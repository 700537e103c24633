"""Columns of ADMISSIONS or of another table that the list shows beside a patient: ward, bed."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.nightly.worklist_page import CSV_COLUMNS
from readmit_spark.storage.input_tables import read_texts


def shown_columns(
    spark: SparkSession, config: Config, house: DataFrame
) -> dict[int, dict[str, str]]:
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
    return {
        row["hadm_id"]: {name: row[name] for name in columns if row[name]} for row in rows
    }  # fmt: skip


def _check_names(columns: Sequence[str]) -> None:
    own = [name for name in columns if name.lower() in CSV_COLUMNS]
    if own:
        raise UserError(f"nightly.columns: {', '.join(own)}: the list has a column of this name")
    folded = [name.strip().upper() for name in columns]
    if len(set(folded)) < len(folded):
        raise UserError("nightly.columns lists a column twice")
