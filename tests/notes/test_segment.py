"""Segments equal those of spaCy's sentencizer on the whole text."""

from __future__ import annotations

import re
import time

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from readmit_spark.notes.segment import segment

NLP = spacy.blank("en")
NLP.add_pipe("sentencizer")


def sentencized(text: str, min_words: int) -> list[str]:
    """Run spaCy on the whole text; a word belongs to the sentence in which it starts."""
    starts = [token.idx for token in NLP(text) if token.is_sent_start]
    sentences: list[list[str]] = []
    end = 0
    for word in re.finditer(r"\S+", text):
        if not sentences or any(end < start <= word.start() for start in starts):
            sentences.append([])
        sentences[-1].append(word.group())
        end = word.start()
    fused: list[list[str]] = []
    for words in sentences:
        if fused and len(words) < min_words:
            fused[-1] += words
        else:
            fused.append(words)
    return [" ".join(words) for words in fused]


FRAGMENTS = ["a", "pain", ".", "!", "?", "...", " ", "  ", "\t", ")", "(", '"', "'", "dr.", "u.s.",
             "a.m.", "98.6", "\u00a0", "。", "yes.no", "\u2028", "mg/dl", ";", ":)", "e.g.", "-",
             "\x1c", "½", "ok.)", "\x00", "\u3000"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*FRAGMENTS, " ", " ", " "]), max_size=40).map("".join),
    st.sampled_from([1, 2, 5]),
)
def test_equals_spacy_on_the_whole_text(text: str, min_words: int) -> None:
    assert segment(text, min_words) == sentencized(text, min_words)


@given(st.text(max_size=200))
def test_no_word_is_lost(text: str) -> None:
    assert " ".join(segment(text)).split() == text.split()


def test_short_segments_join_the_one_before() -> None:
    long = " ".join(["word"] * 20) + "."
    assert segment(f"{long} short one. {long}") == [f"{long} short one.", long]


def test_the_first_segment_may_be_short() -> None:
    long = " ".join(["word"] * 20) + "."
    assert segment(f"short. {long}") == ["short.", long]


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_has_no_segment(text: str) -> None:
    assert segment(text) == []


def test_half_a_surrogate_pair_is_a_word_like_any_other() -> None:
    assert segment("pain \ud800. gone \udc00x", min_words=1) == ["pain \ud800.", "gone \udc00x"]


@pytest.mark.parametrize(
    "piece",
    ["$", "(", ")", "[", "]", '"', "'", "'s", "_", ":", "*", "#", "+", ">", "-", ".", "...", "1",
     "a", "é", "http://a.", "a@b.", "[(\"'", "x.Y", "\U0001f600", "\u05d0", "\u200f", "字",
     "Zm9v+/"],
)  # fmt: skip
def test_a_word_of_any_length_takes_little_time(piece: str) -> None:
    """The time is linear: with the square of the length, 100 kB of "$" would take half an hour."""
    word = (piece * 1_000_000)[:1_000_000]
    start = time.perf_counter()
    segments = segment(f"denies pain. {word} home.", min_words=1)
    assert time.perf_counter() - start < 2
    as_ordinary_word = segment(f"denies pain. {word[:96]} home.", min_words=1)
    assert len(segments) == len(as_ordinary_word)
    assert " ".join(segments) == f"denies pain. {word} home."


def test_the_end_of_a_long_word_ends_a_sentence() -> None:
    word = "a" * 5_000
    assert segment(f"{word}. denies pain", min_words=1) == [f"{word}.", "denies pain"]
    assert segment(f"{word} denies pain", min_words=1) == [f"{word} denies pain"]


@pytest.mark.parametrize("character", ["*", "-", "_", "=", "#", ".", "$", "~", "a", "1"])
@pytest.mark.parametrize("length", [90, 101, 300])
def test_a_rule_of_any_length_equals_spacy(character: str, length: int) -> None:
    text = f"denies pain. {character * length} plan: home. {character * length}. next"
    assert segment(text, 1) == sentencized(text, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=20, max_size=28).map("".join))
def test_a_word_of_a_line_equals_spacy(text: str) -> None:
    """Ordinary notes have no word of more than 100 characters, but lines of 80 dashes."""
    assert segment(text, 1) == sentencized(text, 1)
