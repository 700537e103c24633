"""Count the values of each input column that are not understood, and stop where they are many.

A value is unread if it is there and has none of the forms that are read (`column_values.py`), or if
it is a code that no key lists (`codes.py`). No message shows the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.codes import is_one_of
from readmit_spark.storage.column_values import FORMS
from readmit_spark.storage.stay_facts import DISCHARGES, STAYS

_TIMES = (
    "admittime", "dischtime", "deathtime", "chartdate", "charttime", "storetime", "dob", "dod",
    "died",
)  # fmt: skip
_FORMS = {
    **dict.fromkeys(("row_id", "subject_id", "hadm_id", "line"), FORMS["id"]),
    **dict.fromkeys(_TIMES, FORMS["time"]),
    "iserror": FORMS["flag"],
    "planned": f"unknown, or {FORMS['flag']}",
    "newborn": FORMS["flag"],
    "stay": " and ".join(STAYS),
    "discharge_to": ", ".join(DISCHARGES),
    "admission_type": "the values of codes.planned, codes.unplanned and codes.newborn",
    "category": "the values of codes.discharge_summary and codes.other_categories",
}


@dataclass(frozen=True)
class CodeColumn:
    """A column of codes, and the codes that a key lists."""

    name: str
    known: Sequence[str]

    def unread(self) -> Column:
        """Return whether the column has a value that no key lists."""
        return F.col(self.name).isNotNull() & ~is_one_of(self.name, self.known)


def unread_counts(rows: DataFrame, code: CodeColumn | None = None) -> list[Column]:
    """Return aggregates of `rows` for `check_unread`: NAME_there and NAME_unread for each field of
    the column `unread` and for the code."""
    fields = rows.select("unread.*").columns
    unread = {name: F.col("unread")[name] for name in fields}
    if code:
        unread[code.name] = code.unread()
    counts = []
    for name, is_unread in unread.items():
        there = F.col(name).isNotNull() | is_unread
        counts.append(F.count(F.when(there, 1)).alias(f"{name}_there"))
        counts.append(F.count(F.when(is_unread, 1)).alias(f"{name}_unread"))
    return counts


def only_unread(counts: Mapping[str, int]) -> dict[str, int]:
    """Return NAME_unread of each column, from the result of `unread_counts`."""
    # In the order of _FORMS: that of an Observation's counts is random.
    names = (f"{column}_unread" for column in _FORMS)
    return {name: counts[name] for name in names if name in counts}


def check_unread(
    key: str, path: str, counts: Mapping[str, int], max_share: float, unknown: str = ""
) -> dict[str, int]:
    """Return NAME_unread of each column. Raise a UserError if they are too many in a column: more
    than `max_share` of the values that are there, or all of them.

    counts: the result of `unread_counts`. unknown: of `unknown_values`, for the message.
    """
    unread, problems = only_unread(counts), []
    for name, n in unread.items():
        column = name.removesuffix("_unread")
        there = counts[f"{column}_there"]
        if n and (n == there or n > max_share * there):
            problems.append(
                f"{n:,} of {there:,} values of {_named(column, unknown)} are not understood; read "
                f"are {_FORMS[column]}"
            )
    if problems:
        raise UserError(
            f"{key}: {path}: {'; '.join(problems)}; nothing was written; correct them, or if so "
            f"many may be left out, raise data.max_unread_share (now {max_share:g})"
        )
    return unread


def report_unread(
    key: str,
    path: str,
    counts: Mapping[str, int],
    max_share: float,
    say: Callable[[str], None],
    unknown: str = "",
) -> dict[str, int]:
    """Return and raise as `check_unread`; print a line if any value is not understood."""
    unread = check_unread(key, path, counts, max_share, unknown)
    line = unread_line(key, unread, unknown)
    if line:
        say(line)
    return unread


def unread_line(key: str, unread: Mapping[str, int], unknown: str = "") -> str | None:
    """Return a line on the values that were not understood, or None if there are none."""
    shown = [
        f"{_named(name.removesuffix('_unread'), unknown)} {n:,}" for name, n in unread.items() if n
    ]
    return f"{key}: values that are not understood: {'; '.join(shown)}" if shown else None


def check_row_ids(
    path: str, repeated: int, notes: int, max_share: float, say: Callable[[str], None]
) -> None:
    """Print how many notes have the ROW_ID of another note with another text.

    Their order is not known, and they may be the lines of one note. notes: the number of all notes.
    Raise a UserError if more than `max_share` of the notes are such.
    """
    if not repeated:
        return
    line = (
        f"data.notes: {path}: {repeated:,} of {notes:,} notes have the ROW_ID of another note with "
        "another text"
    )
    if repeated > max_share * notes:
        raise UserError(
            f"{line}; nothing was published; if they are its lines, set data.note_line to the "
            "column that numbers them; else give each note a ROW_ID of its own, or raise "
            f"data.max_unread_share (now {max_share:g})"
        )
    say(line)


def _named(column: str, unknown: str) -> str:
    is_code = column in ("admission_type", "category")
    return f"{column.upper()} ({unknown})" if is_code and unknown else column.upper()
