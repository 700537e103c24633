"""Refuse a time that the data does not reach.

A mistyped --as-of would publish an empty list, or a list that looks later than all true ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from readmit_spark.errors import UserError

_MOST_AFTER_DATA = timedelta(days=1)
_OR_TOLD_TO = "correct --as-of or the tables, or set nightly.any_time=true to publish it anyway"


@dataclass(frozen=True)
class DataTimes:
    """The first and the last ADMITTIME of the admissions; None if none is known."""

    first_admission: datetime | None
    last_admission: datetime | None


def old_sources(as_of: datetime, data: DataTimes, last_note: datetime | None) -> dict[str, str]:
    """Return the last admission and the last note if they are more than a day before `as_of`:
    name -> its time in words. Then a table may not have come for this night."""
    times = {"admission": data.last_admission, "note of a patient in the house": last_note}
    return {
        name: f"{time:%Y-%m-%d %H:%M}" if time else "no known time"
        for name, time in times.items()
        if not time or as_of - time > _MOST_AFTER_DATA
    }


def check_source(form: str | None) -> None:
    """Raise a UserError if the notes come from a format that no night can use."""
    if form == "omop":
        raise UserError(
            "data.notes: its tables come from OMOP, which does not say when a note could be read "
            "or who is still in the house, so no night can be computed; use a mapping file with "
            "your own columns for both (docs/inputs.md)"
        )


def check_anybody(as_of: datetime, patients: int, data: DataTimes) -> None:
    """Raise a UserError if nobody is in the house."""
    if not patients:
        raise UserError(
            f"--as-of {as_of.isoformat()}: nobody is in the house then; data.admissions has "
            f"admissions from {data.first_admission} to {data.last_admission}; {_OR_TOLD_TO}"
        )


def check_not_after_data(as_of: datetime, data: DataTimes, last_note: datetime | None) -> None:
    """Raise a UserError if the last admission and the last note are more than a day before
    `as_of`."""
    times = [time for time in (data.last_admission, last_note) if time]
    if not times or as_of - max(times) > _MOST_AFTER_DATA:
        raise UserError(
            f"--as-of {as_of.isoformat()} is more than a day after the data: the last admission is "
            f"of {data.last_admission}, the last note of a patient in the house of {last_note}; "
            f"{_OR_TOLD_TO}"
        )
