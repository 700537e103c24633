"""What a format is, and what its selects share.

A select changes names, codes and the way in which times are written. A value that it does not
understand stays as it is, so that later jobs count it as unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Config
from readmit_spark.config_types import folded_code
from readmit_spark.errors import UserError
from readmit_spark.storage.codes import unknown_values
from readmit_spark.storage.column_values import code, folded_column

# Beside the columns of MIMIC-III's shape: why a row is left out, or null; where rows are joined,
# how many rows of the source a row stands for; and where the source says so, whether TEXT is
# `rtf` or `html`.
LEFT_OUT, SOURCE_ROWS, FORM = "LEFT_OUT", "SOURCE_ROWS", "FORM"

KEY = "data.folder"
_EXACT = 2**53


@dataclass(frozen=True)
class SourceTable:
    """A table of a format.

    file: its path in `data.folder`, without ending. needed, optional: columns, in upper case.
    resource: the fields to read of the FHIR resource `file` in NDJSON, as DDL; None: the table is
    CSV or Parquet. required: whether the format needs the table.
    """

    file: str
    needed: Sequence[str] = ()
    optional: Sequence[str] = ()
    resource: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Coded:
    """A column of codes whose meanings are known. where: names it in a message."""

    rows: DataFrame
    column: Column
    known: Iterable[str]
    where: str


Raw = Mapping[str, DataFrame]


@dataclass(frozen=True)
class Format:
    """A shape of tables.

    sources: what is read, by the name that the functions use. main: the sources whose rows become
    the rows of each table. coded: returns the columns whose every value must have a meaning.
    select: returns each table of `main` in MIMIC-III's columns, with LEFT_OUT and, where it joins
    rows, SOURCE_ROWS; notes may have FORM. needs_zone: whether its times are instants. check:
    raises a UserError if the selected tables cannot be meant.
    """

    name: str
    sources: Mapping[str, SourceTable]
    main: Mapping[str, Sequence[str]]
    coded: Callable[[Raw], Iterable[Coded]]
    select: Callable[[Raw, Config], Mapping[str, DataFrame]]
    needs_zone: bool = False
    check: Callable[[Mapping[str, DataFrame], Config], None] = lambda tables, config: None


def check_codes(coded: Coded) -> None:
    """Raise a UserError that names the values without a meaning, if there are any."""
    rows = coded.rows.select(coded.column.cast("string").alias("VALUE"))
    rows = rows.select(F.lower(code(rows, "VALUE")).alias("value"))
    known = [folded_code(value) for value in coded.known]
    strange = rows.where(F.col("value").isNotNull() & ~F.col("value").isin(*known)).count()
    if strange:
        raise UserError(
            f"{coded.where}: {strange:,} values have no meaning here: "
            f"{unknown_values(rows, 'value', known, digits=True)}; nothing was published"
        )


def meaning(column: Column, meanings: Mapping[str, str | None]) -> Column:
    """Return the meaning of a code, in any case and with blanks of any width; else null."""
    folded = F.lower(folded_column(column))
    found = F.when(F.lit(False), F.lit(None).cast("string"))
    for value, means in meanings.items():
        found = found.when(folded == folded_code(value), F.lit(means).cast("string"))
    return found


def first_reason(reasons: Mapping[str, Column]) -> Column:
    """Return the first reason that holds, or null: the column LEFT_OUT."""
    reason = F.when(F.lit(False), F.lit(None).cast("string"))
    for name, holds in reasons.items():
        reason = reason.when(holds, name)
    return reason.alias(LEFT_OUT)


def kept() -> Column:
    """Return LEFT_OUT of a row that is not left out."""
    return F.lit(None).cast("string").alias(LEFT_OUT)


def nothing(name: str) -> Column:
    """Return the column `name` without a value."""
    return F.lit(None).cast("string").alias(name)


def as_texts(frame: DataFrame) -> DataFrame:
    """Write all columns as text; whole numbers that are stored as floating point without `.0`."""
    return frame.select(*(_as_text(frame, field).alias(field.name) for field in frame.schema))


def _as_text(frame: DataFrame, field: T.StructField) -> Column:
    column = frame[f"`{field.name}`"]
    if isinstance(field.dataType, T.FloatType | T.DoubleType):
        whole = (column == F.floor(column)) & (F.abs(column) <= _EXACT)
        return F.when(whole, column.cast("long").cast("string")).otherwise(column.cast("string"))
    return column.cast("string")
