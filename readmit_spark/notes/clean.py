"""Cleaning of a note's text (the published regular expressions, in linear time)."""

from __future__ import annotations

import re

# The published pattern is `\[(.*?)\]`. Line ends are blanks by then, so `[^\]]*` is the same.
_BRACKETS = re.compile(r"\[[^\]]*\]")
_DIGITS = re.compile("[0-9]+")
_GONE = "X"  # no lower-case text has one


def clean(text: str | None) -> str:
    """The cleaned, lower-case text: method of Huang et al. 2019, published `preprocess1`.

    None becomes the empty text. Line ends become blanks; then go, in this order, bracketed
    de-identification tags, "12." style numbers, `dr.` (doctor), `m.d.` (md), the two date headers
    and drawn rules. White space is not folded: what splits into words later does that.

    >>> clean("Admission Date:  [**2101-10-20**]\\nDr. [**Last Name**] saw pt. 1. CHF -- stable")
    '   doctor  saw pt.  chf  stable'
    """
    if text is None:
        return ""
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    # A bracket that is never closed matches nothing: looking only up to the last "]" keeps
    # thousands of open ones from each being searched to the end of the text.
    end = text.rfind("]") + 1
    text = _BRACKETS.sub("", text[:end]) + text[end:]
    text = _without_numbers(text)
    text = text.replace("dr.", "doctor").replace("m.d.", "md")
    text = text.replace("admission date:", "").replace("discharge date:", "")
    # As `--|__|==` in one pass: what stands on both sides of a pair that goes makes no new pair.
    text = text.replace("--", _GONE).replace("__", _GONE).replace("==", _GONE)
    return text.replace(_GONE, "")


def clean_for_pretraining(text: str | None) -> str:
    """`clean`, and then without digits and with white space folded, as published for pretraining.

    >>> clean_for_pretraining("BP 120/80,  2 units given. 3. CHF")
    'bp /, units given. chf'
    """
    return " ".join(_DIGITS.sub("", clean(text)).split())


def _without_numbers(text: str) -> str:
    """As the published `[0-9]+\\.` replaced by nothing: several times as fast, and linear on a
    long run of digits without a full stop."""
    *before, last = text.split(".")
    kept = []
    for part in before:
        stripped = part.rstrip("0123456789")
        kept.append(stripped if len(stripped) < len(part) else part + ".")
    return "".join(kept) + last
