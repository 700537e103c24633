"""What prepare prints at its end."""

from __future__ import annotations

from readmit_spark.notes.prepare_summary import Chunks, Stays, summary_table, warnings

SPLITS = {"train": Stays(80, 78, 39), "validation": Stays(10, 10, 2), "test": Stays(10, 0, 0)}
CHUNKS = {"3days": Chunks(90, 300, 20_000, 5_000), "2days": Chunks(90, 200, 9_000, 90)}


def test_the_table_says_who_is_in_the_cohort_and_what_is_cut_off() -> None:
    admissions = {"rows": 111, "duplicate_rows": 1, "admittime_unread": 0}
    notes = {"notes": 1_500, "no_hadm_id": 12, "identical_duplicate": 0}
    excluded = {"died_in_hospital": 7, "newborn": 3}
    assert summary_table(admissions, SPLITS, excluded, notes, CHUNKS).splitlines() == [
        "admissions     111 rows read, 1 duplicate rows",
        "excluded       7 died in hospital, 3 newborn",
        "in the cohort  100: 41 readmitted (46.6%), 12 without a label",
        "train          80: 39 readmitted (50.0%), 2 without a label",
        "validation     10: 2 readmitted (20.0%)",
        "test           10: 0 readmitted, 10 without a label",
        "notes          1,500 rows read, 12 without an admission number",
        "2days          200 chunks of 90 admissions, 9,000 tokens, 1.0% of them cut off",
        "3days          300 chunks of 90 admissions, 20,000 tokens, 25.0% of them cut off",
    ]


def test_warnings_name_what_is_too_few_and_what_is_cut_off() -> None:
    assert list(warnings(SPLITS, CHUNKS, 192)) == [
        "warning: train has 39 readmitted admissions: too few to learn from (fewer than 50)",
        "warning: validation has 2 readmitted admissions: too few to measure from (fewer than 20)",
        "warning: test has 0 readmitted admissions: too few to measure from (fewer than 20)",
        "warning: 3days: 25.0% of the tokens are cut off at model.max_tokens=192: raise it, or do "
        "not set chunk.mode=words",
    ]
    enough = {name: Stays(500, 500, 50) for name in SPLITS}
    assert list(warnings(enough, {"2days": CHUNKS["2days"]}, 192)) == []
