"""Shingles, and the search for text that an early window may not contain."""

from __future__ import annotations

from dataclasses import astuple
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.comparison.shingles import Note, containment, find_out_of_window, shingles
from readmit_spark.text_rules import DEFAULT
from tests.tables_in import words

find = partial(find_out_of_window, cleaning=DEFAULT)

EARLY, LATE, SUMMARY = words(40), words(40, 100), words(40, 200)
NOTES = [Note(0, 0, False, EARLY), Note(4, 4, False, LATE), Note(5, 5, True, SUMMARY)]


def test_a_document_with_early_notes_only_has_no_leak() -> None:
    result = find([words(20), words(20, 20)], NOTES, days=2)
    assert astuple(result) == (False, False, False)


def test_a_late_note_is_found_across_chunks() -> None:
    result = find([words(40), words(20, 100), words(20, 120)], NOTES, days=2)
    assert astuple(result) == (False, True, True)


def test_a_note_that_was_stored_late_is_found() -> None:
    notes = [Note(0, 0, False, EARLY), Note(1, 2, False, LATE)]
    assert astuple(find([EARLY, LATE], notes, days=2)) == (False, False, True)
    assert astuple(find([EARLY, LATE], notes, days=3)) == (False, False, False)
    notes = [Note(0, 0, False, EARLY), Note(2, 1, False, LATE)]
    assert astuple(find([EARLY, LATE], notes, days=2)) == (False, True, False)


def test_a_note_of_the_last_day_of_the_window_is_not_late() -> None:
    notes = [Note(0, 0, False, EARLY), Note(1, 1, False, LATE)]
    assert not find([EARLY, LATE], notes, days=2).read_late
    assert find([EARLY, LATE], notes, days=1).read_late


def test_a_note_without_a_date_counts_as_late() -> None:
    notes = [Note(0, 0, False, EARLY), Note(None, None, False, LATE)]
    assert astuple(find([EARLY, LATE], notes, days=2)) == (False, True, True)


def test_a_discharge_summary_is_found_on_any_day() -> None:
    notes = [Note(0, 0, False, EARLY), Note(1, 1, True, SUMMARY)]
    assert find([EARLY, SUMMARY], notes, days=2).discharge
    assert not find([EARLY, words(20, 200)], notes, days=2).discharge


def test_text_copied_from_an_early_note_is_no_leak() -> None:
    late = Note(4, 4, False, f"{EARLY} {words(8, 300)}")
    assert not find([EARLY], [Note(0, 0, False, EARLY), late], days=2).read_late


def test_short_notes_are_not_compared() -> None:
    notes = [Note(0, 0, False, EARLY), Note(4, 4, False, words(10, 500))]
    assert not find([EARLY, words(10, 500)], notes, days=2).read_late


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_shingles_are_all_runs_of_five_words(letters: list[str]) -> None:
    runs = {" ".join(run) for run in zip(*(letters[i:] for i in range(5)), strict=False)}
    assert shingles(" ".join(letters)) == runs


def test_containment_is_a_share_of_the_first_set() -> None:
    part = {str(i) for i in range(20)}
    assert containment(part, {str(i) for i in range(5, 100)}) == 0.75
