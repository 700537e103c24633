"""Cleaning: the published steps, in the published order, in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.notes.clean import clean

PUBLISHED = [
    (r"\[(.*?)\]", ""),
    (r"[0-9]+\.", ""),
    (r"dr\.", "doctor"),
    (r"m\.d\.", "md"),
    ("admission date:", ""),
    ("discharge date:", ""),
    ("--|__|==", ""),
]


def published(text: str) -> str:
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    for pattern, replacement in PUBLISHED:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ""),
        ("", ""),
        ("[**Hospital1 18**]", ""),
        ("Seen by Dr. [**Last Name**], M.D.", "seen by doctor , md"),
        ("Admission Date:  [**2101-10-20**]", "  "),
        ("1. CHF\r\n2. COPD 98.6", " chf   copd 6"),
        ("=====\n___", "= _"),
        ("a [ b", "a [ b"),
        ("[a [b] c]", " c]"),
    ],
)
def test_published_rules(text: str | None, expected: str) -> None:
    assert clean(text) == expected


FRAGMENTS = ["[", "[[", "]", "12", ".", "3.", "dr.", "Dr", "m.d.", "-", "=", "_", "\n", "\r", " ",
             "Admission Date:", "x", "İ", "\x85", "\u2028", "\x00"]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_equals_the_published_expressions(text: str) -> None:
    assert clean(text) == published(text)


@pytest.mark.parametrize("unit", ["[", "1", "1.", "[x", "-_="])
def test_five_megabytes_take_no_longer_than_their_length(unit: str) -> None:
    text = unit * (5_000_000 // len(unit))
    start = time.perf_counter()
    clean(text)
    # Minutes where a pattern is tried at every character and searches to the end each time.
    assert time.perf_counter() - start < 10
