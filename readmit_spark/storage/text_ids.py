"""Ids that are texts (`data.ids=text`).

Tables hold a number for each id, so that joins and tables are the same for every hospital. The
table `ids` has the text for which a number stands. A text id is a patient's identifier: it is in
that table and on lists and pages, never in a line of a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.storage.ids import id_of_text, id_text
from readmit_spark.storage.input_tables import read_id_texts
from readmit_spark.storage.manifests import Manifest
from readmit_spark.storage.run import Run

TABLE = "ids"
_ID = TypeVar("_ID", int, int | None)


def ids_of_inputs(run: Run) -> DataFrame | None:
    """Build the table `ids` of all input tables; None unless `data.ids` is `text`.

    Raise a UserError if one number stands for two texts: their patients would be mixed up.
    """
    if run.config.data.ids != "text":
        return None
    texts = run.write_temp(read_id_texts(run.spark, run.config), "id_texts")
    shared = texts.groupBy("id").count().where("count > 1").count()
    if shared:
        raise UserError(
            f"data.ids: {shared:,} hashes of 64 bits stand for two different ids each, so their "
            "patients or notes would be mixed up; nothing was published; give the tables ids that "
            "are whole numbers"
        )
    # A whole number stands for itself.
    return texts.where(F.col("text") != F.col("id").cast("string"))


def ids_in(ids: DataFrame, tables: Iterable[DataFrame]) -> DataFrame:
    """Select the rows of a table `ids` whose ids occur in the columns subject_id, hadm_id or row_id
    of `tables`."""
    used = [
        table.select(F.col(name).alias("id"))
        for table in tables
        for name in ("subject_id", "hadm_id", "row_id")
        if name in table.columns
    ]
    return ids.join(reduce(DataFrame.union, used).distinct(), "id", "left_semi").distinct()


def texts_of(ids: DataFrame | None, numbers: Iterable[int | None] | None = None) -> dict[int, str]:
    """Return number -> text of the table `ids`, of all or of these numbers; {} without a table."""
    if ids is None:
        return {}
    if numbers is not None:
        ids = ids.where(F.col("id").isin([number for number in numbers if number is not None]))
    return {row.id: row.text for row in ids.collect()}


def published_ids(manifest: Manifest) -> DataFrame | None:
    """Return the table `ids` that a run published; None if its ids were whole numbers."""
    return manifest.table(TABLE) if TABLE in manifest.tables else None


def shown(number: _ID, texts: Mapping[int, str]) -> _ID | str:
    """Return the hospital's own id, for lists and pages."""
    return number if number is None else texts.get(number, number)


def number_of(spark: SparkSession, config: Config, given: str, argument: str) -> int:
    """Return the number in the tables of an id that was given as `argument`.

    Raise a UserError if it is none.
    """
    if config.data.ids == "text":
        number = spark.range(1).select(id_of_text(id_text(F.trim(F.lit(given))))).collect()[0][0]
        if number is not None:
            return int(number)
    elif given.strip().lstrip("+-").isdecimal():
        return int(given)
    raise UserError(
        f"{argument}: a whole number is needed, or with data.ids=text an id as it is in the tables"
    )
