"""The patients in the house and their notes at one time. Later records change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.nightly.check_time import DataTimes
from readmit_spark.nightly.in_house import (
    admissions_at,
    document_digests,
    document_notes,
    house_facts,
    in_house,
    night_notes,
    night_rule,
    split_counts,
)
from readmit_spark.notes.cohort import cohort_table, distinct_rows, label_admissions
from readmit_spark.notes.documents_table import documents_table, window_notes
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.storage.input_tables import read_admissions, read_notes
from tests.tables_in import Row, note, stay, words, write_csv

pytestmark = pytest.mark.spark4

NIGHT = datetime(2020, 1, 3, 2)


def admissions(spark: SparkSession, folder: Path, stays: Sequence[Row]) -> DataFrame:
    read = read_admissions(spark, write_csv(folder / "ADMISSIONS.csv", stays))
    return distinct_rows(read.drop("malformed"))


def days_in_house(
    spark: SparkSession, folder: Path, stays: Sequence[Row], night: datetime = NIGHT
) -> dict[int, int]:
    """Return the day of stay by hadm_id."""
    house = in_house(admissions_at(admissions(spark, folder, stays), night), night, load_config())
    return {row["hadm_id"]: row["day_of_stay"] for row in house.collect()}


def test_patients_in_the_house(spark: SparkSession, tmp_path: Path) -> None:
    stays = [
        stay(1, 11, "2020-01-01", None),
        stay(2, 21, "2020-01-01", "2020-01-05"),  # a discharge to come
        stay(3, 31, "2020-01-01", "2020-01-03 02:00:00"),  # left on the minute
        stay(4, 41, "2020-01-03 02:00:00", None),  # came on the minute
        stay(5, 51, "2020-01-03 02:00:01", None),  # comes a second later
        stay(6, 61, "2020-01-01", None, "NEWBORN"),
        stay(7, 71, "2020-01-01", "2020-01-02", died="2020-01-02"),
        stay(8, 81, "2020-01-01", "2020-01-06", died="2020-01-06"),  # alive by then
        stay(9, 91, "2020-01-01", None, died="2020-01-02"),  # died, and no discharge is entered
        stay(10, 101, "not a time", None),
        stay(11, 111, "2020-01-01", "the 5th"),  # ended, who knows when
        stay(12, 121, "2020-01-01", None, None),  # a type that nobody entered
    ]
    assert days_in_house(spark, tmp_path, stays) == {11: 3, 21: 3, 41: 1, 81: 3, 121: 3}


def test_patients_who_may_be_in_the_house_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    stays = [
        stay(1, 11, "2020-01-01", None),
        stay(2, 21, "2020-01-01", "the 5th"),
        stay(3, 31, "2020-01-01", None, died="in the night"),
        stay(4, 41, "soon", None),
        stay(5, 51, "2020-01-01", "1900-01-01 00:00:00"),  # a database's word for "none"
        stay(6, 61, "2020-01-01", "2019-12-01"),
        stay(7, 71, "2020-01-01", "9999-12-31 00:00:00"),  # has not happened
        stay(8, 81, "2020-01-01", "NULL", died="\\N"),
        # These are gone, or a night does not list them:
        stay(9, 91, "2020-01-01", "2020-01-02", died="in the night"),
        stay(10, 101, "soon", "2020-01-02"),
        stay(11, 111, "2020-01-01", "the 5th", "Newborn "),
        stay(12, 121, "2020-01-09", "the 5th"),
        stay(13, 131, None, None),
    ]
    assert days_in_house(spark, tmp_path, stays) == {11: 3, 71: 3, 81: 3}
    everyone = admissions(spark, tmp_path, stays)
    facts = house_facts(everyone, NIGHT, load_config())
    assert (facts.n, facts.uncertain) == (3, 5)


def test_a_patient_discharged_and_back_is_in_the_house_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    stays = [stay(1, 11, "2020-01-01", "2020-01-02"), stay(1, 12, "2020-01-02 20:00:00", None)]
    assert days_in_house(spark, tmp_path, stays) == {12: 2}
    assert days_in_house(spark, tmp_path, stays, datetime(2020, 1, 2, 2)) == {11: 2}


@pytest.mark.parametrize("hour", [1, 2, 3])
def test_an_hour_skipped_by_summer_time_is_an_hour(
    spark: SparkSession, tmp_path: Path, hour: int
) -> None:
    """2020-03-29 02:30 does not exist in Paris; in a hospital's records it may."""
    stays = [stay(1, 11, "2020-03-28", None), stay(2, 21, "2020-03-29 02:30:00", None)]
    night = datetime(2020, 3, 29, hour)
    assert days_in_house(spark, tmp_path, stays, night) == (
        {11: 2, 21: 1} if hour == 3 else {11: 2}
    )


def test_a_timestamp_does_not_depend_on_the_time_zone_of_the_machine(spark: SparkSession) -> None:
    shown = spark.range(1).select(
        timestamp(datetime(2020, 3, 29, 2, 30, 1)).cast("string").alias("t")
    )
    assert shown.collect()[0].t == "2020-03-29 02:30:01"


# --- notes ----------------------------------------------------------------------------------------

STAYS = [stay(1, 11, "2020-01-01", None), stay(2, 21, "2020-01-02", None)]


def stored(row: Row, at: str | None) -> Row:
    return {**row, "STORETIME": at}


def night_texts(
    spark: SparkSession,
    folder: Path,
    notes: Sequence[Row],
    night: datetime = NIGHT,
    window: str = "3days",
) -> tuple[dict[int, str], dict[str, int]]:
    """Return the text of admission 11's notes by row_id, and the counts that are not 0."""
    table = night_table(spark, folder, notes, night, window)
    rows = table[0].where("hadm_id = 11").collect()
    assert len({row["row_id"] for row in rows}) == len(rows)
    return {row["row_id"]: row["text"] for row in rows}, {
        k: v for k, v in split_counts(table[1])[0].items() if v
    }


def night_table(
    spark: SparkSession,
    folder: Path,
    notes: Sequence[Row],
    night: datetime,
    window: str = "3days",
    profile: str = "default",
) -> tuple[DataFrame, Any]:
    house = in_house(admissions_at(admissions(spark, folder, STAYS), night), night, load_config())
    counts = Observation("notes")
    read = read_notes(spark, write_csv(folder / "NOTES.csv", notes))
    config = load_config(overrides=[f"nightly.window={window}", f"profile={profile}"])
    repeated = Observation("repeated")
    table = night_notes(read, house, night_rule(config, night), counts, repeated)
    table.write.parquet(str(folder / "notes"), mode="overwrite")
    return spark.read.parquet(str(folder / "notes")), counts


def test_a_note_counts_from_the_time_it_was_saved(spark: SparkSession, tmp_path: Path) -> None:
    notes = [
        stored(note(1, 1, 11, "saved in time", "2020-01-02", "23:00:00"), "2020-01-03 02:00:00"),
        stored(note(2, 1, 11, "saved too late", "2020-01-02", "23:00:00"), "2020-01-03 02:00:01"),
        stored(note(3, 1, 11, "charted, never saved", "2020-01-02", "23:00:00"), None),
        stored(note(4, 1, 11, "charted later", "2020-01-03", "02:00:01"), None),
        stored(note(5, 1, 11, "a day that has ended", "2020-01-02"), None),
        stored(note(6, 1, 11, "a day that goes on", "2020-01-03"), None),
        stored(note(7, 1, 11, "before the admission", "2019-12-30", "10:00:00"), None),
        stored(note(8, 1, 11, "no day", None), None),
        stored(note(9, 1, 11, None, "2020-01-02"), None),
        stored(note(10, 1, 11, "in error", "2020-01-02", iserror="1"), None),
        stored(note(11, 1, 11, "bye", "2020-01-02", category="Discharge summary "), None),
        stored(note(12, 1, 99, "of nobody here", "2020-01-02"), None),
        stored(note(13, 2, 11, "of another patient", "2020-01-02"), None),
    ]
    texts, counts = night_texts(spark, tmp_path, notes)
    assert sorted(texts) == [1, 3, 5, 7]
    assert counts == {
        "not_yet_written": 3, "without_a_time": 1, "text_missing": 1, "marked_as_error": 1,
        "discharge_summary": 1, "usable": 4, "available_from_charttime": 2,
        "available_from_chartdate": 1,
    }  # fmt: skip


def test_without_storetime_the_charttime_counts(spark: SparkSession, tmp_path: Path) -> None:
    texts, _ = night_texts(spark, tmp_path, [note(1, 1, 11, "a", "2020-01-02", "10:00:00")])
    assert texts == {1: "a"}


def test_the_last_note_is_that_of_patients_in_the_house_whatever_becomes_of_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    notes = [
        stored(note(1, 1, 11, "a", "2020-01-02"), "2020-01-02 10:00:00"),
        stored(note(2, 1, 11, "later", "2020-01-09"), "2020-01-09 10:00:00.5"),
        stored(note(3, 1, 99, "of nobody here", "2020-02-02"), "2020-02-02 10:00:00"),
    ]
    _, counts = night_table(spark, tmp_path, notes, NIGHT)
    assert split_counts(counts)[1] == datetime(2020, 1, 9, 10, 0, 0, 500_000)
    _, counts = night_table(spark, tmp_path, notes[2:], NIGHT)
    assert split_counts(counts)[1] is None


def test_the_times_of_admissions_are_those_of_all(spark: SparkSession, tmp_path: Path) -> None:
    rows = [stay(1, 1, "2020-01-05", None), stay(2, 2, "2019-01-01 10:00:00", "2019-01-02"),
            stay(3, 3, None, None)]  # fmt: skip
    facts = house_facts(admissions(spark, tmp_path, rows), NIGHT, load_config())
    assert facts.times == DataTimes(datetime(2019, 1, 1, 10), datetime(2020, 1, 5, 12))
    facts = house_facts(admissions(spark, tmp_path, rows[2:]), NIGHT, load_config())
    assert facts.times == DataTimes(None, None)


def test_the_window_ends_while_the_patient_stays(spark: SparkSession, tmp_path: Path) -> None:
    notes = [note(day, 1, 11, f"day {day}", f"2020-01-0{day}", "08:00:00") for day in range(1, 7)]
    texts, counts = night_texts(spark, tmp_path, notes, datetime(2020, 1, 7, 2))
    assert sorted(texts) == [1, 2, 3]
    assert counts == {"after_the_window": 3, "usable": 3, "available_from_charttime": 3}
    assert sorted(night_texts(spark, tmp_path, notes, datetime(2020, 1, 7, 2), "2days")[0]) == [
        1,
        2,
    ]


def test_the_last_saved_version_of_a_note_counts(spark: SparkSession, tmp_path: Path) -> None:
    draft = stored(note(1, 1, 11, "draft", "2020-01-02"), "2020-01-02 10:00:00")
    final = stored(note(1, 1, 11, "final", "2020-01-02"), "2020-01-02 12:00:00")
    late = stored(note(1, 1, 11, "later still", "2020-01-02"), "2020-01-04 12:00:00")
    assert night_texts(spark, tmp_path, [final, draft, draft, late])[0] == {1: "final"}
    assert night_texts(spark, tmp_path, [draft, final], datetime(2020, 1, 2, 11))[0] == {1: "draft"}


def test_lines_of_a_note_are_counted_as_no_versions(spark: SparkSession, tmp_path: Path) -> None:
    """They have one ROW_ID and one time. A later version and a repeated delivery have not."""
    lines = [note(1, 1, 11, t, "2020-01-02", "10:00:00") for t in ("zz", "mm", "aa")]
    later = stored(note(2, 1, 11, "final", "2020-01-02"), "2020-01-02 12:00:00")
    draft = stored(note(2, 1, 11, "draft", "2020-01-02"), "2020-01-02 10:00:00")
    repeated = Observation("repeated")
    rows = [*({**line, "STORETIME": None} for line in lines), later, later, draft]
    table = night_notes(
        read_notes(spark, write_csv(tmp_path / "NOTES.csv", rows)),
        in_house(admissions_at(admissions(spark, tmp_path, STAYS), NIGHT), NIGHT, load_config()),
        night_rule(load_config(), NIGHT),
        Observation("notes"),
        repeated,
    )
    assert table.count() == 2
    assert repeated.get == {"repeated_row_id": 2}


SIX_NOTES = [
    stored(note(1, 1, 11, "before", "2019-12-31", "10:00:00"), None),
    stored(note(2, 1, 11, "first", "2020-01-01", "13:00:00"), "2020-01-01 14:00:00"),
    stored(note(3, 1, 11, "wrong", "2020-01-01", "13:30:00", iserror="1"), None),
    stored(note(4, 1, 11, "bye", "2020-01-02", category="Discharge summary"), None),
    stored(note(5, 1, 11, "third day", "2020-01-03", "08:00:00"), None),
    stored(note(6, 1, 11, "fourth day", "2020-01-04", "08:00:00"), None),
]


LATE_NOTES = [
    *SIX_NOTES,
    stored(note(7, 1, 11, "stored late", "2020-01-03", "23:00:00"), "2020-01-04 09:00:00"),
    stored(note(8, 1, 11, "stored in time", "2020-01-03", "23:00:00"), "2020-01-04 00:00:00"),
    stored(note(9, 1, 11, "without a date", None), "2020-01-02 09:00:00"),
]


def test_a_window_holds_what_a_night_at_its_end_reads(spark: SparkSession, tmp_path: Path) -> None:
    """However late the night is, the notes that were stored after the window stay out."""
    expected = [1, 2, 5, 8, 9]
    for night in (datetime(2020, 1, 4), datetime(2020, 1, 9)):
        assert sorted(night_texts(spark, tmp_path, LATE_NOTES, night)[0]) == expected
    stays = cohort_of(spark, tmp_path, load_config())
    notes = read_notes(spark, str(tmp_path / "NOTES.csv"))
    (row,) = window_notes(notes, stays, "3days", load_config()).collect()
    assert sorted(n["row_id"] for n in row["notes"]) == expected


@pytest.mark.parametrize(
    ("profile", "document"),
    [
        ("default", ["before", "first", "third day"]),
        ("paper", ["before", "first", "wrong", "bye", "third day"]),
    ],
)
def test_a_night_and_prepare_use_the_same_notes(
    spark: SparkSession, tmp_path: Path, profile: str, document: list[str]
) -> None:
    night = datetime(2020, 1, 5, 2)
    table, _ = night_table(spark, tmp_path, SIX_NOTES, night, profile=profile)
    (at_night,) = document_notes(table, document_digests(table)).collect()
    assert [n["text"] for n in at_night["notes"]] == document
    config = load_config(overrides=[f"profile={profile}", "windows=[3days]"])
    stays = cohort_of(spark, tmp_path, config)
    (prepared,) = documents_table(
        read_notes(spark, str(tmp_path / "NOTES.csv")),
        stays,
        stays,
        config,
        Observation("notes"),
        Observation("repeated"),
    ).collect()
    assert (prepared["n_notes"], prepared["text"]) == (len(document), " ".join(document))


def cohort_of(spark: SparkSession, folder: Path, config: Config) -> DataFrame:
    return cohort_table(label_admissions(admissions(spark, folder, STAYS), config), config)


def test_a_patient_in_the_house_has_no_discharge_summary(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"nightly\.window"):
        night_texts(spark, tmp_path, [note(1, 1, 11, "a")], window="discharge")


def test_the_digest_of_a_document_changes_with_each_of_its_notes(
    spark: SparkSession, tmp_path: Path
) -> None:
    notes = [
        note(3, 1, 11, "third", "2020-01-02"),  # no time: last of its day
        note(2, 1, 11, "second", "2020-01-02", "08:00:00", category='<script>"'),
        note(1, 1, 11, "first", "2020-01-01", "20:00:00"),
        note(9, 2, 21, words(3), "2020-01-02", "20:00:00"),
    ]

    def digests(rows: Sequence[Row]) -> dict[int, str]:
        table, _ = night_table(spark, tmp_path, rows, NIGHT)
        return {r["hadm_id"]: r["document"] for r in document_digests(table).collect()}

    table, _ = night_table(spark, tmp_path, notes, NIGHT)
    documents = document_digests(table).where("hadm_id = 11")
    (row,) = document_notes(table, documents).collect()
    assert [(n["row_id"], n["text"]) for n in row["notes"]] == [
        (1, "first"), (2, "second"), (3, "third"),
    ]  # fmt: skip
    before = digests(notes)
    assert digests(list(reversed(notes))) == before
    for i in range(3):
        edited = [{**n, "TEXT": "edited"} if j == i else n for j, n in enumerate(notes)]
        after = digests(edited)
        assert (after[11] != before[11], after[21] == before[21]) == (True, True)
    assert digests(notes[1:])[11] != before[11]
