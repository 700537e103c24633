"""Clean the text of a document with the published regular expressions, in linear time.

`provenance.clean_with_origins` repeats these rules and keeps the place of each character. Change
both together; a test compares them.
"""

from __future__ import annotations

import re

# Published: `\[(.*?)\]`. Line ends have become spaces before, so `[^\]]*` matches the same.
_BRACKETS = re.compile(r"\[[^\]]*\]")
_DIGITS = re.compile("[0-9]+")
_REMOVED = "X"  # does not occur in lower-case text


def clean(text: str | None) -> str:
    """Return the cleaned, lower-case text (`preprocess1` of Huang et al. 2019).

    Line ends become spaces. Then, in this order: bracketed de-identification tags and numbers such
    as "12." are removed, `dr.` becomes doctor and `m.d.` becomes md, the two date headers and the
    pairs `--`, `__`, `==` are removed. White space inside the text stays. None becomes "".

    >>> clean("Admission Date:  [**2101-10-20**]\\nDr. [**Last Name**] saw pt. 1. CHF -- stable")
    '   doctor  saw pt.  chf  stable'
    """
    if text is None:
        return ""
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    # An open bracket without a closing one matches nothing. Without this limit, each of thousands
    # of open brackets would be searched to the end of the text.
    end = text.rfind("]") + 1
    text = _BRACKETS.sub("", text[:end]) + text[end:]
    text = _remove_numbers(text)
    text = text.replace("dr.", "doctor").replace("m.d.", "md")
    text = text.replace("admission date:", "").replace("discharge date:", "")
    # The same as `--|__|==` in one pass: characters around a removed pair form no new pair.
    text = text.replace("--", _REMOVED).replace("__", _REMOVED).replace("==", _REMOVED)
    return text.replace(_REMOVED, "")


def clean_for_pretraining(text: str | None) -> str:
    """Clean the text as for pretraining: `clean`, then remove digits and fold white space.

    >>> clean_for_pretraining("BP 120/80,  2 units given. 3. CHF")
    'bp /, units given. chf'
    """
    return " ".join(_DIGITS.sub("", clean(text)).split())


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
