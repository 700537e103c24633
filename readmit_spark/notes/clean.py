"""Clean the text of a document, in linear time.

`provenance.clean_with_origins` repeats these rules and keeps the place of each character. Change
both together; a test compares them.
"""

from __future__ import annotations

import re
from itertools import pairwise

from readmit_spark.text_rules import Cleaning

# Published: `\[(.*?)\]`. Line ends have become spaces before, so `[^\]]*` matches the same.
_BRACKETS = re.compile(r"\[[^\]]*\]")
_DIGITS = re.compile("[0-9]+")
_REMOVED = "X"  # does not occur in lower-case text
_ASCII_DIGITS = frozenset("0123456789")
# Not the end of an abbreviation such as hydr. or a.m.d.
_DOCTOR = re.compile(r"dr\.(?<![^\W_]dr\.)")
_MD = re.compile(r"m\.d\.(?<![^\W_]m\.d\.)(?<!\.m\.d\.)")
_RULES = [(2 * character, re.compile(f"{character}{{2,}}")) for character in "-_="]


def clean(text: str | None, cleaning: Cleaning) -> str:
    """Return the cleaned, lower-case text.

    Line ends become spaces. Then, in this order: bracketed de-identification tags and numbers such
    as "12." are removed, `dr.` becomes doctor and `m.d.` becomes md, the two date headers are
    removed, and runs of two or more `-`, `_` or `=` become a space. White space inside the text
    stays. None becomes "".

    As published (`preprocess1` of Huang et al. 2019), `dr.` and `m.d.` count inside a word too, and
    pairs of `-`, `_` or `=` are removed without a space.

    >>> clean("Admission Date:  [**2101-10-20**]\\nDr. [**Last Name**] saw pt. 1. CHF--stable 2.5",
    ...       Cleaning(published=False, keep_decimals=True))
    '   doctor   saw pt.  chf stable 2.5'
    """
    if text is None:
        return ""
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    # An open bracket without a closing one matches nothing. Without this limit, each of thousands
    # of open brackets would be searched to the end of the text.
    end = text.rfind("]") + 1
    text = _BRACKETS.sub("", text[:end]) + text[end:]
    text = _remove_list_numbers(text) if cleaning.keep_decimals else _remove_numbers(text)
    if cleaning.published:
        text = text.replace("dr.", "doctor").replace("m.d.", "md")
        text = _remove_headers(text)
        # The same as `--|__|==` in one pass: characters around a removed pair form no new pair.
        for pair, _ in _RULES:
            text = text.replace(pair, _REMOVED)
        return text.replace(_REMOVED, "")
    text = _MD.sub("md", _DOCTOR.sub("doctor ", text))
    text = _remove_headers(text)
    for pair, run in _RULES:
        if pair in text:
            text = run.sub(" ", text)
    return text


def clean_for_pretraining(text: str | None, published: bool) -> str:
    """Clean the text as for pretraining: `clean`, then remove digits and fold white space.

    Decimals are not kept: their points would stay, and end sentences.

    >>> clean_for_pretraining("BP 120/80,  2.5 units given. 3. CHF", published=False)
    'bp /, units given. chf'
    """
    cleaned = clean(text, Cleaning(published, keep_decimals=False))
    return " ".join(_DIGITS.sub("", cleaned).split())


def _remove_headers(text: str) -> str:
    return text.replace("admission date:", "").replace("discharge date:", "")


def _remove_list_numbers(text: str) -> str:
    """Remove the pattern `(?<!\\S)[0-9]+\\.(?![0-9])` from the text: a number of a list, which
    begins a word and is no decimal.
    """
    parts = text.split(".")
    cleaned = []
    for number, (part, after) in enumerate(pairwise(parts)):
        stripped = part.rstrip("0123456789")
        begins_word = stripped[-1].isspace() if stripped else number == 0
        is_number = len(stripped) < len(part) and after[:1] not in _ASCII_DIGITS
        cleaned.append(stripped if is_number and begins_word else part + ".")
    return "".join(cleaned) + parts[-1]


def _remove_numbers(text: str) -> str:
    """Remove the published pattern `[0-9]+\\.` from the text.

    Several times faster than the pattern, and linear for long runs of digits without a full stop.
    """
    *parts, last = text.split(".")
    cleaned = []
    for part in parts:
        stripped = part.rstrip("0123456789")
        cleaned.append(stripped if len(stripped) < len(part) else part + ".")
    return "".join(cleaned) + last
