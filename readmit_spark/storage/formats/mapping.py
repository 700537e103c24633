"""A hospital's own tables, as a mapping file describes them (`mapping_file.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.storage.formats.mapping_file import OTHERS, SAME, Lines, Mapped, Table
from readmit_spark.storage.formats.shape import (
    LEFT_OUT,
    SOURCE_ROWS,
    Coded,
    Format,
    Raw,
    SourceTable,
    first_reason,
    meaning,
    nothing,
)
from readmit_spark.storage.formats.times import rewritten
from readmit_spark.storage.output_tables import INGEST
from readmit_spark.storage.parquet_columns import TIMES


def mapping_format(name: str, mapped: Mapped) -> Format:
    """Return the format that a mapping file describes."""
    return Format(
        name,
        {key: SourceTable(table.file, _columns(table)) for key, table in mapped.tables.items()},
        {key: (key,) for key in mapped.tables},
        partial(_coded, mapped),
        partial(_select, mapped),
        check=partial(_check_lines, mapped),
    )


def _check_lines(mapped: Mapped, tables: Mapping[str, DataFrame], config: Config) -> None:
    """Raise a UserError if notes without `lines` have several texts for one ROW_ID and time."""
    table = mapped.notes
    if table.lines is not None:
        return
    kept = tables["notes"].where(F.col(LEFT_OUT).isNull() & F.col("ROW_ID").isNotNull())
    notes = kept.groupBy("ROW_ID", "CHARTDATE", "CHARTTIME", "STORETIME").agg(
        F.count_distinct(F.xxhash64("TEXT")).alias("texts")
    )
    several = F.coalesce(F.sum(F.when(F.col("texts") > 1, F.col("texts"))), F.lit(0))
    rows, every = notes.agg(several, F.coalesce(F.sum("texts"), F.lit(0))).collect()[0]
    if rows > config.data.max_unread_share * every:
        raise UserError(
            f"data.folder: {table.file}: {rows:,} of {every:,} rows share "
            f"{table.columns['row_id']} and times with a row of another text: if they are the "
            "lines of a note, the mapping needs lines: under notes; nothing was published"
        )


def _columns(table: Table) -> list[str]:
    """Return every column that the mapping names."""
    names = [*table.columns.values(), *table.keep, *getattr(table, "died", {})]
    lines: Lines | None = getattr(table, "lines", None)
    return list(dict.fromkeys([*names, *([lines.order] if lines else [])]))


def _coded(mapped: Mapped, raw: Raw) -> Iterable[Coded]:
    for name, table in mapped.tables.items():
        rows = raw[name].where(_not_kept(table).isNull())
        for column, meanings in table.values.items():
            if OTHERS not in meanings:
                own = table.columns[column]
                where = f"data.folder: {own} of {table.file}"
                yield Coded(rows, rows[f"`{own}`"], meanings, where)


def _select(mapped: Mapped, raw: Raw, config: Config) -> dict[str, DataFrame]:
    zone = config.data.time_zone
    return {
        name: _table(raw[name], name, table, mapped.times, zone)
        for name, table in mapped.tables.items()
    }


def _table(
    raw: DataFrame, name: str, table: Table, patterns: list[str], zone: str | None
) -> DataFrame:
    """Select the table's columns."""
    values = {column: _value(column, table, patterns, zone) for column in INGEST[name].schema.names}
    if name == "admissions":
        died = [_is_one_of(F.col(own), codes) for own, codes in getattr(table, "died", {}).items()]
        for condition in died:
            at_the_end = F.when(condition, values["DISCHTIME"])
            values["DEATHTIME"] = F.coalesce(values["DEATHTIME"], at_the_end)
    if name == "notes" and "chartdate" not in table.columns:
        values["CHARTDATE"] = F.substring(values["CHARTTIME"], 1, 10)
    columns = [value.alias(column) for column, value in values.items()]
    lines: Lines | None = getattr(table, "lines", None)
    if lines is None:
        return raw.select(*columns, _not_kept(table))
    number = F.expr(f"try_cast(`{lines.order}` AS bigint)")
    return _joined(raw.select(*columns, _not_kept(table), number.alias("LINE")), lines.join)


def _value(column: str, table: Table, patterns: list[str], zone: str | None) -> Column:
    own = table.columns.get(column.lower())
    if own is None:
        return nothing(column)
    value = F.col(f"`{own}`")
    if column in TIMES:
        return rewritten(value, patterns, zone)
    meanings = table.values.get(column.lower())
    return value if meanings is None else _means(column, value, meanings)


def _means(column: str, value: Column, meanings: Mapping[str, str]) -> Column:
    listed = {own: means for own, means in meanings.items() if own != OTHERS}
    means = meaning(value, {own: None if m == SAME else m for own, m in listed.items()})
    same = [own for own, m in listed.items() if m == SAME]
    means = F.when(_is_one_of(value, same), value).otherwise(means) if same else means
    others = meanings.get(OTHERS)
    if others is not None:
        rest = value if others == SAME else F.when(value.isNotNull(), others)
        means = F.when(_is_one_of(value, list(listed)), means).otherwise(rest)
    if column == "ADMISSION_TYPE":
        means = F.when(F.upper(means) != "UNKNOWN", F.upper(means))
    return means


def _is_one_of(value: Column, codes: list[str]) -> Column:
    return meaning(value, dict.fromkeys(codes, "")).isNotNull()


def _not_kept(table: Table) -> Column:
    return first_reason(
        {f"other_{own}": ~_is_one_of(F.col(f"`{own}`"), codes) for own, codes in table.keep.items()}
    )


def _joined(rows: DataFrame, between: str) -> DataFrame:
    """Join the lines of each note, in order. A line that is there twice, or not at all, leaves the
    note out."""
    apart = ("TEXT", "STORETIME", "LINE")
    note = [name for name in rows.columns if name not in apart]
    line = F.struct("LINE", F.coalesce("TEXT", F.lit("")).alias("TEXT"))
    notes = rows.groupBy(*note).agg(
        F.max("STORETIME").alias("STORETIME"),
        F.array_sort(F.collect_set(line)).alias("LINES"),
        F.count(F.lit(1)).alias(SOURCE_ROWS),
    )
    numbers = F.col("LINES")["LINE"]
    first, last = F.array_min(numbers), F.array_max(numbers)
    none_missing = first.isin(0, 1) & (last - first + 1 == F.size(F.array_distinct(numbers)))
    reasons = {
        "line_twice": F.size(F.array_distinct(numbers)) != F.size(numbers),
        "line_missing": ~F.coalesce(none_missing, F.lit(False)) | F.exists(numbers, F.isnull),
    }
    text = F.array_join(F.col("LINES")["TEXT"], between)
    left_out = F.coalesce(LEFT_OUT, first_reason(reasons)).alias(LEFT_OUT)
    return notes.select(
        *(name for name in note if name != LEFT_OUT),
        "STORETIME",
        text.alias("TEXT"),
        left_out,
        SOURCE_ROWS,
    )
