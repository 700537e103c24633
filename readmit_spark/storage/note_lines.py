"""Join the lines of a note that has several rows (`data.note_line`)."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_NOTE = ("row_id", "subject_id", "hadm_id", "chartdate", "charttime", "category")
_LINE_BREAK = "\n"


def join_lines(rows: DataFrame) -> DataFrame:
    """Return one row for each note, without the columns line, unread and malformed.

    Rows that share ROW_ID, ids, CHARTDATE, CHARTTIME and CATEGORY are the lines of one note. Its
    text is theirs, in the order of `line`, with line breaks between. It is marked as an error if
    one of them is, and was stored when the last of them was. A row without ROW_ID or line is a note
    of its own. Where a line is there with several texts, its order is not known: each row stays a
    note, so that it counts as one with the ROW_ID of another.
    """
    is_line = F.col("row_id").isNotNull() & F.col("line").isNotNull()
    columns = [name for name in rows.columns if name not in ("line", "unread", "malformed")]
    others = rows.where(~is_line).select(*columns)
    ordered = F.array_sort(F.array_distinct(F.collect_list(F.struct("line", "text"))))
    joined = (
        rows.where(is_line)
        .groupBy(*_NOTE)
        .agg(
            F.max("iserror").alias("iserror"),
            F.max("addendum").alias("addendum"),
            F.max("storetime").alias("storetime"),
            ordered.alias("lines"),
        )
        .withColumn("text", F.explode(_texts("lines")))
    )
    return others.unionByName(joined.select(*columns))


def _texts(lines: str) -> Column:
    """Return the texts of the notes that these lines make: one, if each line is there once."""
    texts, numbers = F.col(lines)["text"], F.col(lines)["line"]
    filled = F.filter(texts, F.isnotnull)
    whole = F.when(F.size(filled) > 0, F.concat_ws(_LINE_BREAK, filled))
    each_once = F.size(F.array_distinct(numbers)) == F.size(numbers)
    return F.when(each_once, F.array(whole)).otherwise(texts)
