"""Which notes a document may hold, and in which order.

Prepare, nights, explanations, risk by day and pretraining all use this rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column
from pyspark.sql import functions as F

from readmit_spark.notes.provenance import NOTE_SEPARATOR
from readmit_spark.notes.windows import Window
from readmit_spark.storage.codes import is_one_of


@dataclass(frozen=True)
class NoteRule:
    """Decides which notes of an admission its document may hold.

    profile: `paper` reproduces the published behaviour: it keeps notes marked as errors, and
    discharge summaries in early windows. `default` leaves both out.
    summaries: the categories of discharge summaries (`codes.discharge_summary`).
    as_of: at night, a note counts only if it was available by then; None: all notes count.
    """

    profile: str
    window: Window
    summaries: Sequence[str]
    as_of: datetime | None = None

    def reason(self) -> Column:
        """Return why a note is left out, or null where the document may hold it.

        Reads the note's columns text, iserror, category and chartdate, with `as_of` also charttime
        and storetime, and admittime of its admission. The first reason that applies counts.
        """
        return F.coalesce(unusable(self.profile, self.as_of), self._outside_window())

    def _outside_window(self) -> Column:
        summary = is_one_of("category", self.summaries)
        if self.window.days is None:
            return F.when(~summary, "not_a_discharge_summary")
        dropped = summary if self.profile == "default" else F.lit(False)
        return (
            F.when(dropped, "discharge_summary")
            .when(F.col("chartdate").isNull(), "chartdate_unparsed")
            .when(days_after_admission() >= self.window.days, "after_the_window")
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


def days_after_admission() -> Column:
    """Return CHARTDATE - date(ADMITTIME) in days: 0 on the day of admission."""
    return F.datediff("chartdate", F.to_date("admittime"))


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
