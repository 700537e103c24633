"""Chunks of a fixed number of words, as published, and chunks of whole segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.notes.chunk import segment_chunks, word_chunks


def words(n: int) -> str:
    return " ".join(f"w{i}" for i in range(n))


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (0, []),
        (10, []),  # ten words are too few
        (11, [11]),
        (318, [318]),
        (328, [318]),  # a remainder of ten is dropped
        (329, [318, 11]),
        (636, [318, 318]),
        (1000, [318, 318, 318, 46]),
    ],
)
def test_windows_and_remainder(n: int, sizes: list[int]) -> None:
    assert [len(chunk.split()) for chunk in word_chunks(words(n))] == sizes


def test_a_full_window_of_few_words_is_a_chunk() -> None:
    assert word_chunks("a b c d", words=2, min_tail_words=10) == ["a b", "c d"]


@given(st.integers(0, 700), st.integers(1, 50), st.integers(0, 12))
def test_chunks_are_the_words_in_order(n: int, size: int, tail: int) -> None:
    joined = " ".join(word_chunks(words(n), size, tail)).split()
    assert joined == words(n).split()[: len(joined)]
    assert n - len(joined) <= tail


def letters(texts: list[str]) -> list[int]:
    """Count one token for each letter, in place of a tokenizer."""
    return [len(text.replace(" ", "")) for text in texts]


@given(
    st.lists(st.lists(st.text("ab", min_size=1, max_size=30), min_size=1, max_size=8).map(" ".join),
             max_size=12),
    st.integers(4, 40),
)  # fmt: skip
def test_chunks_of_segments_lose_nothing_and_keep_the_budget(
    segments: list[str], budget: int
) -> None:
    chunks = segment_chunks(segments, letters, budget, min_words=0)
    assert "".join(chunks).replace(" ", "") == "".join(segments).replace(" ", "")
    assert all(count <= budget for count in letters(chunks))


def test_chunks_of_segments_keep_segments_whole_where_they_fit() -> None:
    assert segment_chunks(["aa bb", "cc", "dd ee"], letters, 6, min_words=0) == [
        "aa bb cc",
        "dd ee",
    ]


def test_chunks_of_segments_cut_a_segment_over_the_budget_between_words() -> None:
    assert segment_chunks(["aaa bbb ccc"], letters, 6, min_words=0) == ["aaa bbb", "ccc"]


def test_a_document_of_ten_words_has_no_chunk_of_segments() -> None:
    assert segment_chunks([words(10)], letters, 100) == []
    assert len(segment_chunks([words(11)], letters, 100)) == 1
