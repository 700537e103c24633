"""The passages of chunks in the notes, and the origins of cleaned characters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.provenance import Passage, clean_with_origins, document, passages
from readmit_spark.text_rules import DEFAULT, PUBLISHED, Cleaning
from tests.nasty_texts import NASTY_TEXTS

CLEANINGS = [Cleaning(p, k) for p in (True, False) for k in (True, False)]

fragments = st.sampled_from(
    [
        *("a.m.d.", "7.25", "---"),
        *("[**Name 3**]", "[", "]", "dr.", "Dr. ", "M.D.", "12.", "3", ".", "--", "==", "__"),
        *("\n", "\r\n", "Admission Date: ", "discharge date:", " ", "\t", "\x1c"),
        *("\u0130", "\ufb03", "\u03a3", "pain", "No ", "d"),  # lower case changes lengths and forms
    ]
)
texts = st.lists(fragments | st.text(max_size=8), max_size=30).map("".join)


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(texts)
@settings(max_examples=400)
def test_it_equals_clean_and_each_character_has_its_origin(cleaning: Cleaning, text: str) -> None:
    cleaned, origins = clean_with_origins(text, cleaning)
    assert cleaned == clean(text, cleaning)
    assert len(origins) == len(cleaned)
    assert all(a <= b for a, b in pairwise(origins))
    for character, origin in zip(cleaned, origins, strict=True):
        source = text[origin].casefold().replace("\n", " ").replace("\r", " ")
        # Only the characters of the replacements come from elsewhere.
        assert character.casefold() in source or character in "doctormd "


@pytest.mark.parametrize("text", [text for _, text in NASTY_TEXTS], ids=[n for n, _ in NASTY_TEXTS])
def test_nasty_texts(text: str) -> None:
    for cleaning in CLEANINGS:
        assert clean_with_origins(text, cleaning)[0] == clean(text, cleaning)


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(st.lists(texts, min_size=1, max_size=5), st.integers(1, 7))
@settings(max_examples=200)
def test_the_passages_follow_each_other_inside_the_notes(
    cleaning: Cleaning, notes: list[str], words: int
) -> None:
    chunks = word_chunks(clean(document(notes), cleaning), words, 0)
    by_chunk = passages(notes, chunks, cleaning)
    assert len(by_chunk) == len(chunks)
    last = (0, 0)
    for of_chunk in by_chunk:
        for passage in of_chunk:
            assert 0 <= passage.start < passage.end <= len(notes[passage.note])
            assert not notes[passage.note][passage.start].isspace()
            # Chunks share no character, except that a replacement may be cut in two.
            assert (passage.note, passage.start) >= last or (
                passage.note,
                passage.start + 6,
            ) >= last
            last = (passage.note, passage.end)


@pytest.mark.parametrize("cleaning", CLEANINGS)
def test_the_passages_contain_the_words_of_the_chunks(cleaning: Cleaning) -> None:
    notes = [
        "Admission Date: [**2101-1-1**]\nPt seen by Dr. [**Last Name 1**], M.D.",
        "no  pain 3.",
    ]
    chunks = word_chunks(clean(document(notes), cleaning), 3, 0)
    assert chunks == ["pt seen by", "doctor , md", "no pain"]
    quotes = [
        [notes[passage.note][passage.start : passage.end] for passage in of_chunk]
        for of_chunk in passages(notes, chunks, cleaning)
    ]
    assert quotes == [["Pt seen by"], ["Dr. [**Last Name 1**], M.D."], ["no  pain"]]


def test_a_passage_has_all_of_what_a_replacement_stands_for() -> None:
    notes = ["by DR.Jones--no", "K 4.5. 1. x"]
    chunks = ["by doctor", "jones", "no k", "4.5.", "x"]
    places = passages(notes, chunks, DEFAULT)
    assert [[notes[p.note][p.start : p.end] for p in of_chunk] for of_chunk in places] == [
        ["by DR."], ["Jones"], ["no", "K"], ["4.5."], ["x"],
    ]  # fmt: skip


def test_a_chunk_over_two_notes_has_a_passage_in_each() -> None:
    assert passages(["a b", "", "c d"], ["a b c", "d"], PUBLISHED) == [
        [Passage(0, 0, 3), Passage(2, 0, 1)],
        [Passage(2, 2, 3)],
    ]


def test_a_bracket_may_reach_over_notes() -> None:
    assert passages(["pain [**open", "close**] none"], ["pain none"], PUBLISHED) == [
        [Passage(0, 0, 4), Passage(1, 9, 13)]
    ]


def test_text_after_the_last_chunk_is_ignored() -> None:
    assert passages(["a b c d"], ["a b"], PUBLISHED) == [[Passage(0, 0, 3)]]


def test_a_word_cut_in_two_is_in_two_passages() -> None:
    assert passages(["abcdef"], ["abc", "def"], PUBLISHED) == [
        [Passage(0, 0, 3)],
        [Passage(0, 3, 6)],
    ]


def test_chunks_of_another_text_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong to the texts"):
        passages(["a b c"], ["a x"], PUBLISHED)
