"""A time that the data does not reach is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from readmit_spark.errors import UserError
from readmit_spark.nightly.check_time import (
    DataTimes,
    check_anybody,
    check_not_after_data,
    check_source,
    old_sources,
)

LAST_ADMISSION = datetime(2026, 1, 10, 18)
DATA = DataTimes(datetime(2025, 12, 1), LAST_ADMISSION)


def test_a_night_with_nobody_in_the_house_is_refused_in_one_line() -> None:
    check_anybody(datetime(2026, 1, 11), 1, DATA)
    with pytest.raises(UserError) as error:
        check_anybody(datetime(2025, 1, 11, 2), 0, DATA)
    assert str(error.value) == (
        "--as-of 2025-01-11T02:00:00: nobody is in the house then; data.admissions has admissions "
        "from 2025-12-01 00:00:00 to 2026-01-10 18:00:00; correct --as-of or the tables, or set "
        "nightly.any_time=true to publish it anyway"
    )


@pytest.mark.parametrize(
    ("last_note", "latest"),
    [
        (None, LAST_ADMISSION),
        (LAST_ADMISSION - timedelta(days=9), LAST_ADMISSION),
        (LAST_ADMISSION + timedelta(days=9), LAST_ADMISSION + timedelta(days=9)),
    ],
)
def test_a_night_may_be_a_day_after_the_last_admission_or_note(
    last_note: datetime | None, latest: datetime
) -> None:
    day = timedelta(days=1)
    check_not_after_data(latest + day, DATA, last_note)
    with pytest.raises(UserError, match=r"more than a day after the data.*any_time=true"):
        check_not_after_data(latest + day + timedelta(seconds=1), DATA, last_note)


def test_a_mistyped_year_is_refused() -> None:
    with pytest.raises(UserError, match=r"--as-of 2126-01-11T02:00:00 is more than a day after"):
        check_not_after_data(datetime(2126, 1, 11, 2), DATA, LAST_ADMISSION)


def test_without_any_time_in_the_data_every_night_is_refused() -> None:
    with pytest.raises(UserError, match="last admission is of None"):
        check_not_after_data(datetime(2026, 1, 1), DataTimes(None, None), None)


def test_a_table_that_has_not_come_is_said() -> None:
    day, night = timedelta(days=1), LAST_ADMISSION + timedelta(hours=8)
    assert old_sources(night, DATA, night - day) == {}
    # Notes of a later night, in a night that is computed again, are new enough.
    assert old_sources(night, DATA, night + day) == {}
    note = "note of a patient in the house"
    assert old_sources(night, DATA, night - day - timedelta(seconds=1)) == {
        note: "2026-01-10 01:59"
    }
    assert old_sources(night, DATA, None) == {note: "no known time"}
    assert old_sources(night + day, DATA, night + day) == {"admission": "2026-01-10 18:00"}


def test_notes_without_a_time_at_which_they_could_be_read_are_refused() -> None:
    for form in (None, "mimic3", "fhir", "conf/sources/clarity.yaml"):
        check_source(form)
    with pytest.raises(UserError, match=r"^data\.notes: its tables come from OMOP"):
        check_source("omop")
