"""The oracle itself, against cases small enough to work out by hand."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from pathlib import Path

import pytest

from tests import oracles
from tests.nasty_texts import NASTY_TEXTS


def stay(hadm_id, admitted, discharged, kind="EMERGENCY", died=None, subject=1):
    return {
        "SUBJECT_ID": str(subject),
        "HADM_ID": str(hadm_id),
        "ADMITTIME": admitted and f"{admitted} 12:00:00",
        "DISCHTIME": discharged and f"{discharged} 12:00:00",
        "DEATHTIME": died and f"{died} 12:00:00",
        "ADMISSION_TYPE": kind,
    }


def note(row_id, text, day="2020-01-01", time=None, category="Nursing", hadm_id="1", iserror=None):
    return {
        "ROW_ID": str(row_id),
        "SUBJECT_ID": "1",
        "HADM_ID": hadm_id,
        "CHARTDATE": day,
        "CHARTTIME": time,
        "CATEGORY": category,
        "ISERROR": iserror,
        "TEXT": text,
    }


def cohort(*stays, profile="default", seed=1, **options):
    return oracles.cohort(stays, profile=profile, seed=seed, **options)


def labels(*stays, profile="default"):
    return {i: row["label"] for i, row in cohort(*stays, profile=profile).rows.items()}


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["notes.csv", "notes.csv.gz"])
def test_quoted_text_keeps_its_commas_quotes_and_line_breaks(tmp_path: Path, name: str) -> None:
    raw = b'row_id,Text\r\n1,"a, ""b""\nc\r\nd"\r\n2,\r\n'
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert oracles.read_csv(tmp_path / name) == [
        {"ROW_ID": "1", "TEXT": 'a, "b"\nc\r\nd'},
        {"ROW_ID": "2", "TEXT": None},
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2101-10-20 19:08:00", datetime(2101, 10, 20, 19, 8)),
        ("2101-10-20T19:08:00", datetime(2101, 10, 20, 19, 8)),
        ("2101-10-20 19:08:00.25", datetime(2101, 10, 20, 19, 8, 0, 250_000)),
        ("2101-10-20 19:08:00.1234567", datetime(2101, 10, 20, 19, 8, 0, 123_456)),
        ("2101-10-20", datetime(2101, 10, 20)),
        ("2101-10-20 19:08", datetime(2101, 10, 20, 19, 8)),
        ("2101-10-20 19:08.5", None),
        ("\\N", None),
        (" NULL ", None),
        ("1900-01-01 00:00:00", None),
        ("9999-12-31 00:00:00", None),
        ("2101-2-3 19:08:00", None),
        ("2101-02-30 19:08:00", None),
        ("2101-10-20 24:00:00", None),
        ("2101-10-20 23:59:60", None),
        ("20/10/2101 19:08:00", None),
        ("2101-10-20 19:08:00 UTC", None),
        (None, None),
    ],
)
def test_a_time_is_read_in_few_forms_only(text: str | None, expected: datetime | None) -> None:
    assert oracles.parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2101-10-20", date(2101, 10, 20)),
        ("2101-10-20 00:00:00", date(2101, 10, 20)),
        ("2101-10-20T23:30", date(2101, 10, 20)),
        ("2101-10-20x", None),
        ("2101-13-20", None),
        ("20101-10-20", None),
        (None, None),
    ],
)
def test_a_chart_date_is_the_day_of_a_time(text: str | None, expected: date | None) -> None:
    assert oracles.parse_date(text) == expected


# --- label and cohort -----------------------------------------------------------------------------


def test_thirty_days_exactly_is_not_a_readmission() -> None:
    first = stay(1, "2020-01-01", "2020-01-05")
    assert labels(first, stay(2, "2020-02-04", "2020-02-05")) == {1: 0, 2: 0}
    assert labels(first, stay(2, "2020-02-03", "2020-02-05")) == {1: 1, 2: 0}


def test_an_elective_admission_between_is_skipped_and_not_a_stop() -> None:
    stays = [
        stay(1, "2020-01-01", "2020-01-05"),
        stay(2, "2020-01-10", "2020-01-11", "ELECTIVE"),
        stay(3, "2020-01-20", "2020-01-21"),
    ]
    rows = cohort(*stays).rows
    assert rows[1]["next_admittime"] == datetime(2020, 1, 20, 12)
    assert (rows[1]["days_next_admit"], rows[2]["days_next_admit"]) == (15.0, 9.0)
    assert labels(*stays[:2]) == {1: 0, 2: 0}


def test_an_overlap_is_a_readmission_with_negative_days() -> None:
    rows = cohort(stay(1, "2020-01-01", "2020-01-09"), stay(2, "2020-01-05", "2020-03-01")).rows
    assert (rows[1]["days_next_admit"], rows[1]["label"]) == (-4.0, 1)


def test_admissions_at_one_time_are_ordered_by_number_not_by_text() -> None:
    stays = [stay(i, "2020-01-01", "2020-01-05") for i in (10, 9)]
    assert labels(*stays) == {9: 1, 10: 0}


def test_another_patients_admission_is_not_the_next_one() -> None:
    other = stay(2, "2020-01-06", "2020-01-07", subject=2)
    assert labels(stay(1, "2020-01-01", "2020-01-05"), other) == {1: 0, 2: 0}


def test_a_stay_that_is_excluded_still_labels_the_one_before() -> None:
    result = cohort(
        stay(1, "2020-01-01", "2020-01-05"),
        stay(2, "2020-01-06", "2020-01-07", died="2020-01-07"),
    )
    assert result.rows[1]["label"] == 1
    assert result.exclusions == [(2, "died_in_hospital")]


def test_death_after_an_unparsed_admission_time_is_counted_once_by_its_first_reason() -> None:
    result = cohort(
        stay(1, None, "2020-01-05", "NEWBORN", died="2020-01-05", subject=1),
        stay(2, "2020-01-01", "2019-01-05", "NEWBORN", died="2019-01-05", subject=2),
        stay(3, "2020-01-01", "2019-01-05", died="2019-01-05", subject=3),
        stay(4, "2020-01-01", "2019-01-05", subject=4),
    )
    assert result.exclusions == [
        (1, "admittime_unparsed"),
        (2, "newborn"),
        (3, "died_in_hospital"),
        (4, "discharge_before_admission"),
    ]


def test_a_death_counts_unless_it_is_after_discharge_or_not_yet() -> None:
    stays = [
        {**stay(1, "2020-01-01", "2020-01-05", subject=1), "DEATHTIME": "in the night"},
        {**stay(2, "2020-01-01", "2020-01-05", subject=2), "DEATHTIME": "9999-12-31"},
        stay(3, "2020-01-01", "2020-01-05", died="2020-01-05", subject=3),
        stay(4, "2020-01-01", "2020-01-05", died="2020-01-06", subject=4),
        stay(5, "2020-01-01", None, died="2020-01-06", subject=5),
    ]
    died = [(i, "died_in_hospital") for i in (1, 3, 5)]
    assert cohort(*stays).exclusions == died
    assert cohort(*stays, profile="paper").exclusions == sorted([*died, (4, "died_in_hospital")])


def test_a_stay_after_death_is_left_out_and_is_no_readmission() -> None:
    stays = [
        stay(1, "2020-01-01", "2020-01-05"),
        stay(2, "2020-01-08", "2020-01-10", "ELECTIVE", died="2020-01-10"),
        stay(3, "2020-01-20", "2020-01-21"),
    ]
    assert cohort(*stays).exclusions == [(2, "died_in_hospital"), (3, "after_death")]
    assert labels(*stays) == {1: None}  # died before any readmission
    assert labels(*stays, profile="paper") == {1: 1, 3: 0}


def test_the_paper_profile_keeps_a_discharge_before_admission() -> None:
    result = cohort(stay(1, "2020-01-05", "2020-01-01"), profile="paper")
    assert result.rows[1]["duration_days"] == -4.0
    assert result.exclusions == []


@pytest.mark.parametrize(("profile", "expected"), [("default", None), ("paper", 0)])
def test_a_stay_without_discharge_is_unknown_or_negative(
    profile: str, expected: int | None
) -> None:
    stays = [stay(1, "2020-01-01", None), stay(2, "2020-01-06", "2020-01-07")]
    assert labels(*stays, profile=profile)[1] == expected


def test_identical_admissions_count_once_and_different_ones_are_an_error() -> None:
    one = stay(1, "2020-01-01", "2020-01-05")
    assert labels(one, dict(one)) == {1: 0}
    with pytest.raises(ValueError, match="HADM_ID"):
        cohort(one, stay(1, "2020-01-01", "2020-01-06"))


def test_split_and_fold_are_those_of_the_hash_worked_out_in_a_shell() -> None:
    # echo -n 1:14 | md5sum -> 01023...: 0.004; 1:26 -> 27768...: 0.154; 1:3 -> 5f649...: 0.373
    assert [oracles.split(key, 1) for key in (14, 26, 3)] == ["test", "validation", "train"]
    # echo -n 1:fold:14 | md5sum -> e36805e6..., which is 1 modulo 5
    assert oracles.fold(14, 1) == 1


def test_a_patient_is_on_one_side_and_an_admission_of_the_paper_profile_need_not_be() -> None:
    stays = [stay(i, f"2020-01-{i:02}", f"2020-01-{i:02}") for i in range(1, 29)]
    by_patient = {row["split"] for row in cohort(*stays).rows.values()}
    by_admission = {row["split"] for row in cohort(*stays, profile="paper").rows.values()}
    assert len(by_patient) == 1
    assert by_admission == {"train", "validation", "test"}


# --- documents ------------------------------------------------------------------------------------


def documents(*notes, window="3days", profile="default"):
    rows = cohort(stay(1, "2020-01-01", "2020-01-05")).rows
    return oracles.documents(notes, rows, window, profile)


def test_notes_are_in_order_of_date_then_time_with_null_last_then_row() -> None:
    assert documents(
        note(10, "f", "2020-01-02"),
        note(9, "e", "2020-01-02"),
        note(1, "d", "2020-01-02", "2020-01-02 10:00:00"),
        note(3, "c", "2020-01-02", "2020-01-02 09:00:00"),
        note(2, "b", "2020-01-02", "2020-01-02 09:00:00"),
        note(11, "a", "2020-01-01"),
    ) == {1: "a b c d e f"}


def test_the_window_counts_calendar_days_and_keeps_notes_from_before() -> None:
    notes = [note(i, day, f"2020-01-{day}") for i, day in enumerate(["01", "02", "03", "04"])]
    notes.append(note(9, "before", "2019-12-30"))
    notes.append(note(10, "undated", None))
    assert documents(*notes, window="2days") == {1: "before 01 02"}
    assert documents(*notes, window="3days") == {1: "before 01 02 03"}


def test_error_notes_and_discharge_summaries_are_in_the_paper_profile_only() -> None:
    notes = [
        note(1, "a"),
        note(2, "wrong", iserror="1"),
        note(3, "summary", category="Discharge summary"),
        note(4, "right", iserror=" F"),
    ]
    assert documents(*notes) == {1: "a right"}
    assert documents(*notes, profile="paper") == {1: "a wrong summary right"}


def test_discharge_is_the_last_summary_only() -> None:
    notes = [
        note(2, "addendum", "2020-01-06", category="Discharge summary "),
        note(1, "summary", "2020-01-05", category="Discharge summary"),
        note(3, "later", "2020-01-07"),
    ]
    assert documents(*notes, window="discharge") == {1: "addendum"}


def test_a_note_needs_text_and_both_ids_and_counts_once() -> None:
    stranger = {**note(3, "other patient"), "SUBJECT_ID": "2"}
    notes = [note(1, "a"), note(1, "a"), note(2, None), stranger, note(4, "x", hadm_id=None)]
    assert documents(*notes, note(5, "a")) == {1: "a a"}


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ""),
        (" A\nB\rC ", "a b c"),
        ("x [**First\nName**] y", "x  y"),
        ("K 4.5, age 12.", "k 5, age "),
        ("Dr. No, M.D.", "doctor no, md"),
        ("Admission Date: 1 Discharge  Date: 2", " 1 discharge  date: 2"),
        ("a--b__c==d---e", "abcd-e"),
        ("-[x]-", ""),
    ],
)
def test_clean(text: str | None, expected: str) -> None:
    assert oracles.clean(text, published=True, keep_decimals=False) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("K 4.5, age 12. 1.2.", "k 4.5, age  1.2."),
        ("hydr. Dr. No, M.D. a.m.d.", "hydr. doctor  no, md a.m.d."),
        ("a--b___c==d", "a b c d"),
    ],
)
def test_clean_in_the_default_profile(text: str, expected: str) -> None:
    assert oracles.clean(text) == expected


def test_a_segment_under_twenty_words_joins_the_one_before_and_the_first_stays() -> None:
    long = " ".join(["w"] * 19) + " end."
    assert oracles.segments(f"Short one. {long} {long} Tail.") == [
        "Short one.",
        long,
        f"{long} Tail.",
    ]


def test_a_word_with_a_boundary_within_stays_whole_and_in_the_earlier_segment() -> None:
    twenty = " ".join(["w"] * 20)
    assert oracles.segments(f"stable.The {twenty}") == ["stable.The", twenty]
    assert oracles.segments(f"{twenty} ?sepsis {twenty}") == [f"{twenty} ?sepsis", twenty]


@pytest.mark.parametrize(("name", "text"), NASTY_TEXTS, ids=[name for name, _ in NASTY_TEXTS])
def test_segments_lose_no_word(name: str, text: str) -> None:
    cleaned = oracles.clean(text)
    assert " ".join(oracles.segments(cleaned)).split() == cleaned.split()


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, []),
        (10, []),
        (11, [11]),
        (318, [318]),
        (328, [318]),
        (329, [318, 11]),
        (636, [318, 318]),
        (647, [318, 318, 11]),
    ],
)
def test_a_remainder_is_a_chunk_above_ten_words(n: int, expected: list[int]) -> None:
    text = "\n".join(f"w{i}" for i in range(n))
    chunks = oracles.word_chunks(text)
    assert [len(chunk.split()) for chunk in chunks] == expected
    assert " ".join(chunks).split() == text.split()[: sum(expected)]


def test_chunks_are_numbered_within_an_admission_and_a_window() -> None:
    rows = cohort(stay(1, "2020-01-01", "2020-01-05")).rows
    notes = [note(1, "A " * 318 + "B " * 11), note(2, "C " * 11, "2020-01-03")]
    result = oracles.chunks(notes, rows, ["2days", "3days"], "default")
    assert [(chunk.window, chunk.chunk_index, chunk.n_words) for chunk in result] == [
        ("2days", 0, 318),
        ("2days", 1, 11),
        ("3days", 0, 318),
        ("3days", 1, 22),
    ]
    assert result[3] == ("3days", 1, 1, " ".join("b" * 11 + "c" * 11), 22)


# --- vote -----------------------------------------------------------------------------------------


def test_vote() -> None:
    assert oracles.vote([0.4]) == pytest.approx(0.4)
    # n = 2, c = 2: (0.8 + 0.5) / 2
    assert oracles.vote([0.2, 0.8]) == pytest.approx(0.65)
    # n = 4, c = 1: (1 + 0.25 * 4) / 5
    assert oracles.vote([0, 0, 0, 1], c=1) == pytest.approx(0.4)
