"""The values that the code columns may have, as the configuration lists them (`codes.*`).

Codes are compared in lower case and with single blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Codes

# A value is shown only if it looks like a code: a column may hold patients' names by mistake.
_SHOWN = re.compile(r"[A-Z][A-Z_ /&.()-]{0,39}")
_SHOWN_WITH_DIGITS = re.compile(r"[\w /&.()-]{1,40}")
_SEVERAL, _FEW = 2, 20


def is_one_of(column: str | Column, codes: Sequence[str]) -> Column:
    """Return whether the column holds one of these codes. Never null."""
    return F.coalesce(F.lower(column).isin(*codes), F.lit(False))


def known_types(codes: Codes) -> tuple[str, ...]:
    """Return every ADMISSION_TYPE that a key lists."""
    return (*codes.planned, *codes.unplanned, *codes.newborn)


def known_categories(codes: Codes) -> tuple[str, ...]:
    """Return every CATEGORY that a key lists."""
    return (*codes.discharge_summary, *codes.other_categories)


def unknown_values(rows: DataFrame, column: str, known: Sequence[str], digits: bool = False) -> str:
    """Return the values of the column that no key lists, with their counts, for a message.

    Shown are at most 20 values of letters and blanks that occur several times; of others only how
    many there are. digits: also show values with digits. Reads the table once.
    """
    looks_like_a_code = _SHOWN_WITH_DIGITS if digits else _SHOWN
    unknown = rows.where(F.col(column).isNotNull() & ~is_one_of(column, known))
    counts = {
        row[column].upper(): row["count"]
        for row in unknown.groupBy(column).count().orderBy(F.desc("count"), column)
        .limit(_FEW + 1).collect()
    }  # fmt: skip
    shown = [
        f"{value} {n:,}"
        for value, n in counts.items()
        if len(counts) <= _FEW and n >= _SEVERAL and looks_like_a_code.fullmatch(value)
    ]
    rest = len(counts) - len(shown)
    others = f"{rest} not shown" if len(counts) <= _FEW else "too many different ones to show"
    return ", ".join(shown + ([others] if rest else []))
