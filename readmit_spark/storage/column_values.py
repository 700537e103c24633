"""Parse one column of an input table, and tell values that are missing from those not understood.

A value is **missing** if it is null, blank or one of `NULL_WORDS`. A value is **unread** if it is
there and has none of the forms that are read. Nothing is guessed. Columns are text (CSV) or have a
type of Parquet: boolean, date, timestamp, or a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.storage.ids import id_of_text, id_text, whole_number

# What programs write for a null, in lower case: databases, pandas, R, Excel, SAS.
NULL_WORDS = (
    "", "null", "(null)", "[null]", "<null>", "\\n", "nat", "nan", "none", "na", "<na>", "n/a",
    "#n/a", "nil", ".",
)  # fmt: skip
# White space and characters that cannot be seen: no-break space, zero-width space, byte order mark.
_BLANKS = " \t\r\n\f\v\u00a0\u200b\ufeff"
_FOLDED = r"[\p{Z}\p{C}]+"  # the same and all their relatives, inside a code

_TIME = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?$"
# The same with Z or an offset: an instant, which has a time on the wall clock of a zone only.
_INSTANT = (
    r"^(\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?) ?"
    r"(?:[zZ]|UTC|([+-]\d{2}):?(\d{2})?)$"
)
_DATE_LENGTH = len("2101-02-26")
# Databases write years outside these for "none" or "not yet": 0001, 1753, 1900, 1970, 9999.
FIRST_YEAR, LAST_YEAR = 1971, 2299
_LAST_MICROSECOND = 86_399_999_999  # of a day, counted from its midnight

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)$"
_YES, _NO = ("t", "true", "y", "yes", "b'1'"), ("f", "false", "n", "no", "b'0'")

Kind = Literal["id", "text_id", "time", "end_time", "note_time", "date", "birth_date", "flag"]

FORMS = {
    "id": "whole numbers of 64 bits, and with data.ids=text also texts of at most 64 characters "
    "that begin with a letter or digit",
    "time": "times such as 2101-02-26 02:00:00 of the years 1971 to 2299 (also with T, without "
    "seconds, with decimals, or the date alone; with Z or an offset if data.time_zone is set)",
    "flag": "1 and 0, true and false, t and f, yes and no, y and n, and numbers",
}


def parse_columns(
    raw: DataFrame, kinds: Mapping[str, Kind], *others: Column, time_zone: str | None = None
) -> DataFrame:
    """Parse columns of `raw`, given as name -> kind.

    id: a whole number; text_id: a text or a whole number, see `ids.py`. time: a time, its decimals
    cut to microseconds; a date alone is its midnight. end_time: a time that may be yet to come: a
    year after 2299 is a placeholder. note_time: a time; a date alone is the last microsecond of the
    day, so that nothing counts as known before it was. date: the day of a time. birth_date: the day
    of a time of any year, as MIMIC-III moves births by centuries. flag: a boolean in the ways that
    databases write it; a number is true unless it is 0.

    time_zone: in which times with Z or an offset become the time on the wall clock; None: such
    times are unread.

    Returns the parsed columns under lower-case names, null where missing or unread; `others`; the
    struct `unread` with a boolean for each column; the struct `placeholder` with a boolean for each
    end_time, if there is one.
    """
    types = {name: raw.schema[name].dataType for name in kinds}
    # In three steps, so that a value is parsed once. Spark does not merge them where a computed
    # column is used more than once.
    trimmed = raw.withColumns({name: _trimmed(name, types[name]) for name in kinds})
    parsed = trimmed.withColumns(
        {_parsed(name): _parse(trimmed, name, kind, time_zone) for name, kind in kinds.items()}
    )
    values = {name: _value(name, types[name], kind) for name, kind in kinds.items()}
    unread = [_unread(name, values[name], kind).alias(name.lower()) for name, kind in kinds.items()]
    later = [
        _is_later(name).alias(name.lower()) for name, kind in kinds.items() if kind == "end_time"
    ]
    return parsed.select(
        *(value.alias(name.lower()) for name, value in values.items()),
        *others,
        F.struct(*unread).alias("unread"),
        *([F.struct(*later).alias("placeholder")] if later else []),
    )


def id_texts(raw: DataFrame, names: Sequence[str]) -> DataFrame:
    """Build id, text: the different ids of these columns, read as `text_id`."""
    trimmed = raw.withColumns({name: _trimmed(name, raw.schema[name].dataType) for name in names})
    texts = F.array(*(_id_text(trimmed[name]) for name in names))
    rows = trimmed.select(F.explode(texts).alias("text")).where(F.col("text").isNotNull())
    return rows.distinct().select(id_of_text(F.col("text")).alias("id"), "text")


def flag_of(text: Column) -> Column:
    """Return the boolean that a text in lower case stands for, or null."""
    return (
        F.when(text.isin(*_YES), True)
        .when(text.isin(*_NO), False)
        .when(text.rlike(_NUMBER), text.rlike("[1-9]"))
    )


def code(frame: DataFrame, name: str) -> Column:
    """Return a code in upper case with single blanks, or null if it is missing."""
    folded = folded_column(frame[name])
    return F.when(~F.lower(folded).isin(*NULL_WORDS), folded)


def folded_column(column: Column) -> Column:
    """Return a code in upper case with single blanks: white space and invisible characters count
    as blanks."""
    return F.upper(F.trim(F.regexp_replace(column.cast("string"), _FOLDED, " ")))


def _id_text(trimmed: Column) -> Column:
    text = trimmed.cast("string")
    return F.when(~F.lower(text).isin(*NULL_WORDS), id_text(text))


def _parsed(name: str) -> str:
    """Return the name of the column with the parsed value."""
    return f"{name}_PARSED"


def _is_time(kind: T.DataType) -> bool:
    return isinstance(kind, T.TimestampType | T.TimestampNTZType | T.DateType)


def _trimmed(name: str, stored: T.DataType) -> Column:
    if _is_time(stored) or isinstance(stored, T.IntegerType | T.LongType):
        return F.col(name)
    return F.btrim(F.col(name).cast("string"), F.lit(_BLANKS))


def _parse(trimmed: DataFrame, name: str, kind: Kind, time_zone: str | None) -> Column:
    """Return the value of any year, or null, from the trimmed column."""
    column, text = trimmed[name], F.lower(trimmed[name].cast("string"))
    if kind == "id":
        return whole_number(trimmed, name)
    if kind == "text_id":
        return id_of_text(_id_text(column))
    if kind == "flag":
        return flag_of(text)
    if _is_time(trimmed.schema[name].dataType):
        return column.cast("timestamp")
    # The pattern is needed because Spark's cast would also read "2101" as a date. try_ is needed
    # because in ANSI mode an impossible day, such as the 45th, would be an error.
    text = column.cast("string")
    time = F.try_to_timestamp(F.when(text.rlike(_TIME), text))
    if time_zone is None:
        return time
    wall_clock = F.from_utc_timestamp(F.try_to_timestamp(_instant(text)), time_zone)
    return F.when(text.rlike(_INSTANT), wall_clock).otherwise(time)


def _instant(text: Column) -> Column:
    """Return an instant in the one form that Spark reads: `2101-02-26 02:00:00+01:00`."""
    time, hours, minutes = (F.regexp_extract(text, _INSTANT, group) for group in (1, 2, 3))
    offset = F.concat(hours, F.lit(":"), F.when(minutes == "", "00").otherwise(minutes))
    # Spark reads an offset only after seconds.
    seconds = F.when(F.length(time) == len("2101-02-26 02:00"), ":00").otherwise("")
    return F.concat(time, seconds, F.when(hours == "", "Z").otherwise(offset))


def _value(name: str, stored: T.DataType, kind: Kind) -> Column:
    """Return the published value from the trimmed and the parsed column."""
    parsed = F.col(_parsed(name))
    if kind in ("id", "text_id", "flag"):
        return parsed
    if kind == "birth_date":
        return parsed.cast("date")
    time = F.when(F.year(parsed).between(FIRST_YEAR, LAST_YEAR), parsed)
    if kind == "date":
        return time.cast("date")
    if kind == "note_time":
        is_date = F.length(name) == _DATE_LENGTH
        if _is_time(stored):
            is_date = F.lit(isinstance(stored, T.DateType))
        end = F.timestamp_micros(F.unix_micros(time) + _LAST_MICROSECOND)
        return F.when(is_date, end).otherwise(time)
    return time


def _is_later(name: str) -> Column:
    return F.coalesce(F.year(_parsed(name)) > LAST_YEAR, F.lit(False))


def _unread(name: str, value: Column, kind: Kind) -> Column:
    # Most values are understood, so Spark looks for null words only where one is not.
    there = F.coalesce(~F.lower(F.col(name).cast("string")).isin(*NULL_WORDS), F.lit(False))
    unread = value.isNull() & there
    return unread & ~_is_later(name) if kind == "end_time" else unread
