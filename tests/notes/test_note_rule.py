"""The rule for the notes of a document, reason by reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.notes.note_rule import (
    NoteRule,
    available_from,
    count_reasons,
    join_texts,
    note_order,
    time_counts,
    unusable,
)
from readmit_spark.notes.provenance import document
from readmit_spark.notes.windows import parse_window
from tests.literal_rows import literal_rows

pytestmark = pytest.mark.spark4

ADMITTED = datetime(2020, 1, 1, 22)
SCHEMA = (
    "row_id long, text string, iserror boolean, category string, chartdate date, "
    "charttime timestamp, storetime timestamp, admittime timestamp"
)
SUMMARY = "discharge summary"


def frame(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Rows of row_id, text, iserror, category, day and hour of January 2020, hour of saving."""
    notes = []
    for row_id, text, iserror, category, day, hour, saved in rows:
        charted = date(2020, 1, day) if isinstance(day, int) else None
        times = [
            datetime(2020, 1, day, h) if isinstance(day, int) and isinstance(h, int) else None
            for h in (hour, saved)
        ]
        notes.append((row_id, text, iserror, category, charted, *times, ADMITTED))
    return literal_rows(spark, notes, SCHEMA)


def reasons(notes: DataFrame, rule: NoteRule) -> Mapping[int, str | None]:
    rows = notes.select("row_id", rule.reason().alias("reason")).collect()
    return {row["row_id"]: row["reason"] for row in rows}


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_a_stored_window_holds_what_could_be_read_by_its_end(
    spark: SparkSession, profile: str
) -> None:
    midnight = datetime(2020, 1, 3)
    notes = literal_rows(
        spark,
        [
            (row_id, "pain", False, "nursing", charted, *times, ADMITTED)
            for row_id, charted, *times in (
                (1, date(2020, 1, 2), datetime(2020, 1, 2, 23), midnight),
                (2, date(2020, 1, 2), datetime(2020, 1, 2, 23), datetime(2020, 1, 3, 0, 0, 1)),
                (3, date(2020, 1, 2), datetime(2020, 1, 2, 23), None),
                (4, date(2020, 1, 2), datetime(2020, 1, 3, 1), None),
                (5, date(2020, 1, 2), None, None),  # readable when the second day ends
                (6, date(2020, 1, 3), None, None),
                (7, date(2020, 1, 3), datetime(2020, 1, 3, 9), datetime(2020, 1, 2, 9)),
                (8, None, None, datetime(2020, 1, 2, 9)),
                (9, None, datetime(2020, 1, 2, 9), None),
                (10, None, None, None),
                (11, date(2019, 11, 2), None, None),
            )
        ],
        SCHEMA,
    )
    late, two_days = "after_the_window", parse_window("2days")
    assert reasons(notes, NoteRule(profile, two_days, [SUMMARY], "stored")) == {
        1: None, 2: late, 3: None, 4: late, 5: None, 6: late, 7: None, 8: None, 9: None,
        10: "without_a_time", 11: None,
    }  # fmt: skip
    no_day = "chartdate_unparsed"
    assert reasons(notes, NoteRule(profile, two_days, [SUMMARY], "charted")) == {
        1: None, 2: None, 3: None, 4: None, 5: None, 6: late, 7: late, 8: no_day, 9: no_day,
        10: no_day, 11: None,
    }  # fmt: skip
    counts = notes.agg(*time_counts(F.col("row_id") != 3)).first()
    assert counts is not None
    assert counts.asDict() == {"available_from_charttime": 2, "available_from_chartdate": 3}


@pytest.mark.parametrize("available", ["stored", "charted"])
def test_notes_long_before_the_admission_are_bounded(spark: SparkSession, available: str) -> None:
    ten_before = date(2019, 12, 22)
    notes = literal_rows(
        spark,
        [
            (1, "pain", False, "nursing", ten_before, None, None, ADMITTED),
            (2, "pain", False, "nursing", date(2019, 12, 21), None, None, ADMITTED),
            # Read during the stay, and old all the same.
            (3, "pain", False, "nursing", date(2019, 12, 21), None, ADMITTED, ADMITTED),
            (4, "pain", False, "nursing", date(2020, 1, 1), None, None, ADMITTED),
        ],
        SCHEMA,
    )
    days = parse_window("3days")
    early = "before_the_window"
    rule = NoteRule("default", days, [SUMMARY], available, 10)
    assert reasons(notes, rule) == {1: None, 2: early, 3: early, 4: None}
    assert set(reasons(notes, replace(rule, days_before=0)).values()) == {early, None}
    assert set(reasons(notes, replace(rule, days_before=None)).values()) == {None}
    summaries = replace(rule, window=parse_window("discharge"), summaries=["nursing"])
    assert set(reasons(notes, summaries).values()) == {None}


def test_an_early_document_of_each_profile(spark: SparkSession) -> None:
    notes = frame(
        spark,
        (1, "pain", False, "nursing", 2, None, None),
        (2, None, False, "nursing", 1, None, None),
        (3, "pain", True, "nursing", 1, None, None),
        (4, "bye", False, SUMMARY, 1, None, None),
        (5, "pain", False, None, None, None, None),
        (6, "pain", False, "nursing", 3, None, None),  # the third day: admitted on the first
    )
    two_days = parse_window("2days")
    assert reasons(notes, NoteRule("default", two_days, [SUMMARY], "stored")) == {
        1: None, 2: "text_missing", 3: "marked_as_error", 4: "discharge_summary",
        5: "without_a_time", 6: "after_the_window",
    }  # fmt: skip
    assert reasons(notes, NoteRule("paper", two_days, [SUMMARY], "charted")) == {
        1: None, 2: "text_missing", 3: None, 4: None,
        5: "chartdate_unparsed", 6: "after_the_window",
    }  # fmt: skip


def test_a_discharge_document_holds_summaries_of_any_day(spark: SparkSession) -> None:
    notes = frame(
        spark,
        (1, "bye", False, SUMMARY, None, None, None),
        (2, "bye", True, SUMMARY, 9, None, None),
        (3, "pain", False, "nursing", 1, None, None),
        (4, "pain", False, None, 1, None, None),
    )
    discharge = parse_window("discharge")
    other = {3: "not_a_discharge_summary", 4: "not_a_discharge_summary"}
    assert reasons(notes, NoteRule("default", discharge, [SUMMARY])) == {
        1: None,
        2: "marked_as_error",
        **other,
    }
    assert reasons(notes, NoteRule("paper", discharge, [SUMMARY])) == {1: None, 2: None, **other}


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_at_night_only_available_notes_count(spark: SparkSession, profile: str) -> None:
    notes = frame(
        spark,
        (1, "pain", False, "nursing", 2, 9, 12),  # saved on the minute
        (2, "pain", False, "nursing", 2, 9, 13),
        (3, "pain", False, "nursing", 2, 13, None),  # charted later, never saved
        (4, "pain", False, "nursing", 2, None, None),  # the day has not ended
        (5, "pain", False, "nursing", None, None, None),
        (6, "pain", False, "nursing", 1, None, None),  # the day has ended
    )
    night = datetime(2020, 1, 2, 12)
    rule = NoteRule(profile, parse_window("2days"), [SUMMARY], as_of=night)
    late = "not_yet_written"
    assert reasons(notes, rule) == {
        1: None, 2: late, 3: late, 4: late, 5: "without_a_time", 6: None,
    }  # fmt: skip


def test_the_first_reason_counts(spark: SparkSession) -> None:
    notes = frame(
        spark,
        (1, None, True, SUMMARY, None, None, None),
        (2, "bye", True, SUMMARY, 9, None, None),
        (3, "bye", False, SUMMARY, None, None, None),
    )
    rule = NoteRule("default", parse_window("2days"), [SUMMARY])
    expected = {1: "text_missing", 2: "marked_as_error", 3: "discharge_summary"}
    assert reasons(notes, rule) == expected
    counts = notes.agg(*count_reasons(rule.reason(), ["text_missing", "after_the_window"])).first()
    assert counts is not None and counts.asDict() == {"text_missing": 1, "after_the_window": 0}
    usable = notes.where(unusable("paper").isNull())  # any window
    assert {row["row_id"] for row in usable.collect()} == {2, 3}


def test_a_note_is_available_from_the_first_time_that_it_has(spark: SparkSession) -> None:
    notes = frame(
        spark,
        (1, "", False, None, 2, 9, 12),
        (2, "", False, None, 2, 9, None),
        (3, "", False, None, 2, None, None),
        (4, "", False, None, None, None, None),
    )
    rows = notes.orderBy("row_id").select(available_from().cast("string").alias("from")).collect()
    assert [row["from"] for row in rows] == [
        "2020-01-02 12:00:00", "2020-01-02 09:00:00", "2020-01-03 00:00:00", None,
    ]  # fmt: skip


def test_order_and_joined_text(spark: SparkSession) -> None:
    notes = frame(
        spark,
        (5, "e", False, None, None, None, None),
        (4, "d", False, None, 2, None, None),
        (3, "c", False, None, 2, None, None),
        (2, "b", False, None, 2, 9, None),
        (6, "a", False, None, 2, 8, None),
    )
    ordered = F.array_sort(F.collect_list(F.struct(*note_order(), "text")))
    row = notes.agg(ordered.alias("notes")).select(join_texts("notes").alias("text")).first()
    assert row is not None and row["text"] == document(["a", "b", "c", "d", "e"]) == "a b c d e"
