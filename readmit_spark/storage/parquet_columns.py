"""Decide from the types of a table's Parquet files what a column means, and convert it.

A type that says nothing certain is refused: whole numbers as times without a unit, instants without
the hospital's zone, and files whose types cannot mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.storage.input_files import InputFile
from readmit_spark.storage.parquet_footers import ParquetColumn

TIMES = (
    "ADMITTIME", "DISCHTIME", "DEATHTIME", "CHARTDATE", "CHARTTIME", "STORETIME", "DOB", "DOD",
    "DIED",
)  # fmt: skip
IDS = ("ROW_ID", "SUBJECT_ID", "HADM_ID")
_A_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_NUMBERS = ("whole", "real", "decimal")
_EXACT = 2**53  # above, not every whole number is a floating-point number
_TEXT = T.StringType()


@dataclass(frozen=True)
class Reading:
    """Keys that say what the values leave open.

    integer_times: the unit of whole numbers in columns of times, counted from 1970. time_zone: the
    hospital's, in which instants are shown. text_ids: ids may be texts. note_line: the column that
    numbers the lines of a note.
    """

    integer_times: str | None = None
    time_zone: str | None = None
    text_ids: bool = False
    note_line: str | None = None

    @classmethod
    def of(cls, config: Config) -> Reading:
        """Return the keys of a configuration."""
        data = config.data
        return cls(data.integer_times, data.time_zone, data.ids == "text", data.note_line)


def check_types(
    name: str,
    files: Sequence[tuple[InputFile, Mapping[str, ParquetColumn]]],
    key: str,
    reading: Reading,
) -> T.DataType:
    """Return the type in which the column of all files is returned: text where they differ.

    files: one of each group of equal types, with its columns. Raise a UserError that names file,
    column and type if a type is refused.
    """
    known = [(file, columns[name]) for file, columns in files if name in columns]
    for file, column in known:
        _check_type(name, file, column, key, reading)
    groups: dict[bool, tuple[InputFile, ParquetColumn]] = {}
    for file, column in known:
        if column.kind not in ("text", "null") and not _counted(name, column):
            groups[column.kind in ("time", "date")] = (file, column)
    if len(groups) == 2:
        a, b = groups.values()
        raise UserError(
            f"{key}: {name} is {a[1].type} in {a[0].name} but {b[1].type} in {b[0].name}, "
            "which cannot mean the same; write it with one type"
        )
    types = {repr(t): t for t in (_target(name, column) for _, column in known) if t is not None}
    return next(iter(types.values())) if len(types) == 1 else _TEXT


def convert(
    frame: DataFrame, column: ParquetColumn | None, target: T.DataType, name: str, reading: Reading
) -> Column:
    """Return the column in the type `target`, which `check_types` returned; null if not there."""
    if column is None or column.kind == "null":
        return F.lit(None).cast(target)
    value = frame[f"`{column.name}`"]
    if _counted(name, column):
        return _from_count(value, reading)
    if column.kind == "time":
        value = _wall_clock(value, column, reading)
    if target != _TEXT:
        return value.cast(target)
    if column.kind == "time":
        return F.date_format(value, "yyyy-MM-dd HH:mm:ss.SSSSSS")
    if column.kind not in ("real", "decimal"):
        return value.cast(_TEXT)
    return _whole_text(value, exact=column.kind == "decimal")


def _check_type(
    name: str, file: InputFile, column: ParquetColumn, key: str, reading: Reading
) -> None:
    where = f"{key}: {name} of {file.name} is {column.type}"
    if column.kind == "other":
        raise UserError(f"{where}, which is not read; write text, numbers, dates or times")
    if name in TIMES and column.kind in _NUMBERS and reading.integer_times is None:
        raise UserError(
            f"{where}, whose unit is not known; set data.integer_times to {', '.join(_A_SECOND)}, "
            "or write times"
        )
    if column.instant and not column.by_spark and reading.time_zone is None:
        raise UserError(
            f"{where}, an instant and not the time on a wall clock; set data.time_zone to the "
            "hospital's zone, such as America/New_York"
        )


def _counted(name: str, column: ParquetColumn) -> bool:
    """Return whether the column counts units of time."""
    return name in TIMES and column.kind in _NUMBERS


def _target(name: str, column: ParquetColumn) -> T.DataType | None:
    """Return the type in which the column alone is returned; None for one that is all null."""
    if column.kind == "null":
        return None
    if _counted(name, column) or (name in IDS and column.kind in ("real", "decimal")):
        return _TEXT
    if column.kind == "decimal":
        return column.spark_type
    return {
        "text": _TEXT,
        "flag": T.BooleanType(),
        "whole": T.LongType(),
        "real": T.DoubleType(),
        "date": T.DateType(),
        "time": T.TimestampType(),
    }[column.kind]


def _wall_clock(value: Column, column: ParquetColumn, reading: Reading) -> Column:
    time = F.timestamp_micros(_divided(value, 1000)) if column.nanoseconds else value
    time = time.cast("timestamp")
    if column.instant and reading.time_zone:
        return F.from_utc_timestamp(time, reading.time_zone)
    return time


def _from_count(value: Column, reading: Reading) -> Column:
    """Return the time as text, or the number itself where the unit makes no year of four digits.

    Nobody reads such a number as a time, so it is counted as not understood.
    """
    assert reading.integer_times is not None  # see _check_type
    a_second = _A_SECOND[reading.integer_times]
    in_range = F.abs(value) < 2.5e11 * a_second
    count = F.when(in_range, F.floor(value)).cast("long")
    if a_second > 10**6:
        micros = _divided(count, a_second // 10**6)
    else:
        micros = count * F.lit(10**6 // a_second)
    time = F.date_format(F.timestamp_micros(micros), "yyyy-MM-dd HH:mm:ss.SSSSSS")
    return F.coalesce(time, value.cast("string"))


def _divided(count: Column, divisor: int) -> Column:
    """Divide whole numbers, rounding down; `/` goes through doubles, which are not exact."""
    below = F.pmod(count, F.lit(divisor))
    return F.call_function("div", count - below, F.lit(divisor))


def _whole_text(value: Column, exact: bool) -> Column:
    """Write whole numbers without decimals and exponent. exact: they are, whatever their size."""
    whole = F.floor(value) if exact else F.when(F.abs(value) <= _EXACT, F.floor(value))
    return F.when(value == whole, whole.cast("string")).otherwise(value.cast("string"))
