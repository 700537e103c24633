"""Documents of a few notes: their windows, order and counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.notes.documents_table import documents_table, window_notes
from tests.literal_rows import literal_rows

pytestmark = pytest.mark.spark4

NOTES = [
    (2, 1, 11, date(2020, 1, 1), None, "nursing", False, "second"),
    (1, 1, 11, date(2020, 1, 1), datetime(2020, 1, 1, 9), "nursing", False, "first"),
    (1, 1, 11, date(2020, 1, 1), datetime(2020, 1, 1, 9), "nursing", False, "first"),  # again
    (3, 1, 11, date(2020, 1, 3), None, "nursing", False, "third day"),
    (4, 1, 11, date(2020, 1, 8), None, "discharge summary", False, "draft"),
    (5, 1, 11, date(2020, 1, 9), None, "discharge summary", False, "bye"),
    (6, 1, 11, None, None, "nursing", False, "no date"),
    (7, 1, 11, date(2020, 1, 1), None, "nursing", True, "wrong"),
    (8, 2, 21, date(2020, 1, 1), None, "nursing", False, "excluded"),
    (9, 3, 31, date(2020, 1, 1), None, "nursing", False, "unknown"),
    (10, 1, None, date(2020, 1, 1), None, "nursing", False, "no admission"),
    (11, 1, 11, date(2020, 1, 1), None, "nursing", False, None),
    (12, 2, 11, date(2020, 1, 1), None, "nursing", False, "of another patient"),
    (13, None, 11, date(2020, 1, 1), None, "nursing", False, "of nobody"),
]


def notes(spark: SparkSession, rows: Sequence[tuple[Any, ...]] = NOTES) -> DataFrame:
    return literal_rows(
        spark,
        [(*row, None, False, "addendum" in str(row[-1])) for row in rows],
        "row_id long, subject_id long, hadm_id long, chartdate date, charttime timestamp, "
        "category string, iserror boolean, text string, storetime timestamp, malformed boolean, "
        "addendum boolean",
    )


def cohort(spark: SparkSession) -> DataFrame:
    return literal_rows(
        spark,
        [(1, 11, datetime(2020, 1, 1, 8), 1, "train")],
        "subject_id long, hadm_id long, admittime timestamp, label int, split string",
    )


def test_documents_and_counts(spark: SparkSession) -> None:
    config = load_config(overrides=["windows=[2days,3days,discharge]"])
    admissions = spark.createDataFrame([(1, 11), (2, 21)], "subject_id long, hadm_id long")
    counts, repeated = Observation("notes"), Observation("repeated")
    table = documents_table(notes(spark), cohort(spark), admissions, config, counts, repeated)
    rows = {row.window: (row.n_notes, row.text) for row in table.collect()}
    assert rows == {
        "2days": (2, "first second"),
        "3days": (3, "first second third day"),
        "discharge": (1, "bye"),
    }
    assert counts.get | repeated.get == {
        "discharge_summaries": 2, "text_empty": 0, "no_hadm_id": 1, "unknown_admission": 1,
        "other_subject": 2, "excluded_admission": 1, "text_missing": 1, "marked_as_error": 1,
        "chartdate_unparsed": 0,
        "without_a_time": 1, "available_from_charttime": 2, "available_from_chartdate": 4,
        "before_admission": 0, "before_the_window": 0, "stored_after_the_window": 0,
        "identical_duplicate": 1, "repeated_row_id": 0, "addendum_without_summary": 0,
    }  # fmt: skip


@pytest.mark.parametrize("available", ["stored", "charted"])
def test_notes_before_the_admission_and_notes_stored_late_are_counted(
    spark: SparkSession, available: str
) -> None:
    columns = ("nursing", False, "pain")
    rows = [
        (1, 1, 11, date(2019, 12, 31), None, *columns),
        (2, 1, 11, date(2019, 12, 1), None, *columns),
        (3, 1, 11, date(2020, 1, 3), datetime(2020, 1, 4, 0, 1), *columns),
        (4, 1, 11, date(2020, 1, 3), datetime(2020, 1, 4), *columns),
        (5, 1, 11, date(2020, 1, 3), datetime(2020, 1, 8), "discharge summary", False, "bye"),
        (6, 1, 11, date(2020, 1, 4), None, *columns),
    ]
    config = load_config(
        overrides=[
            "windows=[2days,3days,discharge]",
            "window.days_before=10",
            f"window.available={available}",
        ]
    )
    admissions = spark.createDataFrame([(1, 11)], "subject_id long, hadm_id long")
    counts = Observation("notes")
    table = documents_table(
        notes(spark, rows), cohort(spark), admissions, config, counts, Observation("repeated")
    )
    found = {row.window: row.n_notes for row in table.collect()}
    assert found == {"2days": 1, "3days": 2 if available == "stored" else 3, "discharge": 1}
    names = ("before_admission", "before_the_window", "stored_after_the_window")
    assert [counts.get[name] for name in names] == [2, 1, 1]


def test_a_row_id_with_several_texts_is_counted(spark: SparkSession) -> None:
    day = date(2020, 1, 1)
    lines = [
        (1, 1, 11, day, None, "nursing", False, "zz"),
        (1, 1, 11, day, None, "nursing", False, "mm"),
        (1, 1, 11, day, None, "nursing", False, "mm"),  # delivered twice
        (1, 1, 11, day, None, "nursing", False, "aa"),
        (2, 1, 11, day, None, "nursing", False, "other"),
        (None, 1, 11, day, None, "nursing", False, "no id"),
        (None, 1, 11, day, None, "nursing", False, "no id either"),
    ]
    admissions = spark.createDataFrame([(1, 11)], "subject_id long, hadm_id long")
    repeated = Observation("repeated")
    documents_table(
        notes(spark, lines), cohort(spark), admissions, load_config(), Observation("n"), repeated
    ).collect()
    assert repeated.get == {
        "identical_duplicate": 1, "repeated_row_id": 2, "addendum_without_summary": 0
    }  # fmt: skip


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_addenda_join_the_summary_before_them(spark: SparkSession, profile: str) -> None:
    columns = ("discharge summary", False)
    rows = [
        # Of the summary's day, with a smaller ROW_ID; of the days before and after.
        (1, 1, 11, date(2020, 1, 5), None, *columns, "addendum same day"),
        (2, 1, 11, date(2020, 1, 5), None, *columns, "summary"),
        (3, 1, 11, date(2020, 1, 4), None, *columns, "addendum to the draft"),
        (4, 1, 11, date(2020, 1, 3), None, *columns, "draft"),
        (5, 1, 11, date(2020, 1, 9), None, *columns, "addendum later"),
        (6, 1, 12, date(2020, 1, 9), None, *columns, "addendum alone"),
        (7, 1, 12, None, None, *columns, "addendum alone, no day"),
        (8, 1, 13, None, None, *columns, "summary without a day"),
        (9, 1, 13, date(2020, 1, 9), None, *columns, "addendum of a day"),
        (10, 1, 13, None, None, *columns, "addendum without a day"),
    ]
    stays = literal_rows(
        spark,
        [(1, hadm, datetime(2020, 1, 1, 8), 1, "train") for hadm in (11, 12, 13)],
        "subject_id long, hadm_id long, admittime timestamp, label int, split string",
    )
    config = load_config(overrides=["windows=[discharge]", f"profile={profile}"])
    repeated = Observation("repeated")
    table = documents_table(
        notes(spark, rows), stays, stays, config, Observation("notes"), repeated
    ).collect()
    found = {row.hadm_id: row.text for row in table}
    if profile == "paper":
        assert found == {
            11: "addendum later", 12: "addendum alone, no day", 13: "addendum without a day"
        }  # fmt: skip
        return
    assert found == {
        11: "summary addendum same day addendum later",
        13: "summary without a day addendum without a day",
    }
    assert repeated.get["addendum_without_summary"] == 2


def test_the_notes_of_a_document(spark: SparkSession) -> None:
    config = load_config()
    for window, expected in (("2days", [1, 2]), ("discharge", [5])):
        (row,) = window_notes(notes(spark), cohort(spark), window, config).collect()
        assert [note.row_id for note in row.notes] == expected
