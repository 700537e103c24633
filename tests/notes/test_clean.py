"""Cleaning: the published steps, in the published order, in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.notes.clean import clean, clean_for_pretraining
from readmit_spark.text_rules import DEFAULT, PUBLISHED, Cleaning
from tests import oracles

CLEANINGS = [Cleaning(p, k) for p in (True, False) for k in (True, False)]

EXPRESSIONS = [
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
    for pattern, replacement in EXPRESSIONS:
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
    assert clean(text, PUBLISHED) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ""),
        ("pH 7.25, K 4.5. BP 120/80.", "ph 7.25, k 4.5. bp 120/80."),
        ("1. CHF\n2. COPD on 2.5 L", "chf copd on 2.5 l"),
        ("v1.2.3 of 12.5.2010, 1.", "v1.2.3 of 12.5.2010,"),
        ("hydr. and adr. by Dr. Smith, M.D.", "hydr. and adr. by doctor smith, md"),
        ("DR.JONES a.m.d.", "doctor jones a.m.d."),
        ("pain--resolved 5--10 mg", "pain resolved 5 10 mg"),
        ("===== plan ----- follow-up a_b", "plan follow-up a_b"),
        ("Mr. ___ was seen by Dr. ___ on ___", "mr. was seen by doctor on"),
        ("Admission Date:  [**2101-10-20**] [a [b] c]", "c]"),
    ],
)
def test_default_rules(text: str | None, expected: str) -> None:
    assert clean(text, DEFAULT).split() == expected.split()


def test_decimals_are_kept_only_where_that_is_asked() -> None:
    assert clean("pH 7.25", Cleaning(published=True, keep_decimals=True)) == "ph 7.25"
    assert clean("pH 7.25", Cleaning(published=False, keep_decimals=False)) == "ph 25"


def test_pretraining_keeps_no_point_of_a_decimal() -> None:
    assert clean_for_pretraining("pH 7.25 hydr. x", published=False) == "ph hydr. x"
    assert clean_for_pretraining("pH 7.25 hydr. x", published=True) == "ph hydoctor x"


FRAGMENTS = ["[", "[[", "]", "12", ".", "3.", "dr.", "Dr", "m.d.", "-", "=", "_", "\n", "\r", " ",
             "Admission Date:", "x", "a.m.d.", "7.25", "İ", "\x85", "\u2028", "\x00"]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_equals_the_published_expressions(text: str) -> None:
    assert clean(text, PUBLISHED) == published(text)


@pytest.mark.parametrize("cleaning", CLEANINGS)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_equals_the_slow_expressions(cleaning: Cleaning, text: str) -> None:
    assert clean(text, cleaning) == oracles.clean(text, cleaning.published, cleaning.keep_decimals)


@pytest.mark.parametrize("cleaning", [PUBLISHED, DEFAULT])
@pytest.mark.parametrize("unit", ["[", "1", "1.", "[x", "-_=", "-", "dr.", "m.d."])
def test_five_megabytes_take_no_longer_than_their_length(unit: str, cleaning: Cleaning) -> None:
    text = unit * (5_000_000 // len(unit))
    start = time.perf_counter()
    clean(text, cleaning)
    # Minutes where a pattern is tried at every character and searches to the end each time.
    assert time.perf_counter() - start < 10
