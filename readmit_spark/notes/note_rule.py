"""Which notes a document may hold, and in which order.

Prepare, nights, explanations, risk by day and pretraining all use this rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pyspark.sql import Column
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.notes.provenance import NOTE_SEPARATOR
from readmit_spark.notes.windows import Window, parse_window
from readmit_spark.storage.codes import is_one_of


@dataclass(frozen=True)
class NoteRule:
    """Decides which notes of an admission its document may hold.

    profile: `paper` reproduces the published behaviour: it keeps notes marked as errors, and
    discharge summaries in early windows. `default` leaves both out.
    summaries: the categories of discharge summaries (`codes.discharge_summary`).
    available: which time of a note decides whether it lies in an early window. `stored`: when it
    could be read (`available_from`), at the end of the window's last day at the latest. `charted`:
    its CHARTDATE, as published.
    days_before: an early window holds no notes of more than this many days before the day of
    admission; None: it holds all of them, as published.
    as_of: at night, a note counts only if it was available by then; None: all notes count.
    """

    profile: str
    window: Window
    summaries: Sequence[str]
    available: str = "stored"
    days_before: int | None = None
    as_of: datetime | None = None

    @classmethod
    def of(cls, config: Config, window: str, as_of: datetime | None = None) -> Self:
        """Return the rule of this configuration for a window."""
        return cls(
            config.profile,
            parse_window(window),
            config.codes.discharge_summary,
            config.window_available,
            config.window.days_before,
            as_of,
        )

    def reason(self) -> Column:
        """Return why a note is left out, or null where the document may hold it.

        Reads the note's columns text, iserror, category, chartdate, charttime and storetime, and
        admittime of its admission. The first reason that applies counts.
        """
        return F.coalesce(unusable(self.profile, self.as_of), self._outside_window())

    def _outside_window(self) -> Column:
        summary = is_one_of("category", self.summaries)
        if self.window.days is None:
            return F.when(~summary, "not_a_discharge_summary")
        dropped = summary if self.profile == "default" else F.lit(False)
        return (
            F.when(dropped, "discharge_summary")
            .when(undated(self.available).isNotNull(), undated(self.available))
            .when(after_window(self.available, self.window.days), "after_the_window")
            .when(before_window(self.days_before), "before_the_window")
        )


def unusable(profile: str, as_of: datetime | None = None) -> Column:
    """Return the reason that keeps a note out of every document; null if none does.

    The parameters and columns are those of `NoteRule`.
    """
    reason = F.when(F.col("text").isNull(), "text_missing")
    if as_of is not None:
        reason = reason.when(available_from().isNull(), "without_a_time").when(
            available_from() > timestamp(as_of), "not_yet_written"
        )
    return reason.when(F.col("iserror"), "marked_as_error") if profile == "default" else reason


def available_from() -> Column:
    """Return when a note could first be read: STORETIME, else CHARTTIME, else the end of CHARTDATE.

    Null where the note has none of them.
    """
    end_of_day = F.date_add("chartdate", 1).cast("timestamp")
    return F.coalesce("storetime", "charttime", end_of_day)


def undated(available: str) -> Column:
    """Return why nobody can say whether a note lies in an early window; null if it is known.

    available: as in `NoteRule`.
    """
    if available == "charted":
        return F.when(F.col("chartdate").isNull(), "chartdate_unparsed")
    return F.when(available_from().isNull(), "without_a_time")


def after_window(available: str, days: int) -> Column:
    """Return whether a note comes after the first `days` days of the stay. Null if `undated`.

    available: as in `NoteRule`.
    """
    if available == "charted":
        return F.datediff("chartdate", F.to_date("admittime")) >= days
    return available_from() > F.date_add(F.to_date("admittime"), days).cast("timestamp")


def before_window(days_before: int | None) -> Column:
    """Return whether a note is of more than `days_before` days before the day of admission.

    Its day is its CHARTDATE, else that of `available_from`. None: false.
    """
    if days_before is None:
        return F.lit(False)
    day = F.coalesce("chartdate", F.to_date(available_from()))
    return F.datediff(day, F.to_date("admittime")) < -days_before


def time_counts(counted: Column) -> list[Column]:
    """Return aggregates over the notes of which `counted` holds: the numbers of notes that are
    available from CHARTTIME, and from the end of CHARTDATE, because the times before are missing.
    """
    charttime = F.col("storetime").isNull() & F.col("charttime").isNotNull()
    chartdate = F.coalesce("storetime", "charttime").isNull() & F.col("chartdate").isNotNull()
    return [
        F.count(F.when(counted & charttime, 1)).alias("available_from_charttime"),
        F.count(F.when(counted & chartdate, 1)).alias("available_from_chartdate"),
    ]


def timestamp(time: datetime) -> Column:
    """Return `time` as a timestamp literal, the same on machines of any time zone."""
    # As text: pyspark would shift a datetime by this machine's zone.
    return F.lit(time.isoformat(sep=" ")).cast("timestamp")


def count_reasons(reason: Column, names: Sequence[str]) -> list[Column]:
    """Return one aggregate for each name: the number of rows with that reason."""
    return [F.count(F.when(reason == name, 1)).alias(name) for name in names]


def note_order() -> list[Column]:
    """Return sort fields. Structs that begin with them sort by CHARTDATE, CHARTTIME (null last),
    ROW_ID."""
    # Structs compare field by field, nulls first; the flags put nulls last.
    return [
        F.col("chartdate").isNull().alias("no_date"),
        F.col("chartdate"),
        F.col("charttime").isNull().alias("no_time"),
        F.col("charttime"),
        F.col("row_id"),
    ]


def join_texts(notes: str) -> Column:
    """Return the document's text: the `text` of each struct in the array column `notes`.

    `provenance.document` joins the same way.
    """
    return F.concat_ws(NOTE_SEPARATOR, F.transform(notes, lambda note: note["text"]))
