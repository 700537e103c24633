"""Where a chunk comes from: the characters of the notes' own texts that its words stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from readmit_spark.notes.clean import clean

_BRACKETS = re.compile(r"\[[^\]]*\]")
_NUMBERED = re.compile(r"[0-9](?<![0-9][0-9])[0-9]*\.")
_THEN = (
    (_NUMBERED, ""),
    (re.compile(r"dr\."), "doctor"),
    (re.compile(r"m\.d\."), "md"),
    (re.compile(r"admission date:"), ""),
    (re.compile(r"discharge date:"), ""),
    (re.compile(r"--|__|=="), ""),
)


@dataclass(frozen=True)
class Passage:
    """Characters start to end (end excluded, counted from 0) of the text of note number `note`."""

    note: int
    start: int
    end: int


def document(texts: Sequence[str]) -> str:
    """The notes of an admission as one text: joined by a blank, in their order."""
    return " ".join(texts)


def passages(texts: Sequence[str], chunks: Sequence[str]) -> list[list[Passage]]:
    """For each chunk, what it was made of: at most one passage a note, in the notes' order.

    texts: the notes in the document's order. chunks: what `clean(document(texts))` was cut into, in
    order from its beginning; an end that is in no chunk may be left over. A passage reaches from
    the first to the last character that the chunk has of a note; what cleaning took out in between
    lies inside. ValueError where the chunks are not those of the texts.

    >>> passages(["Pt seen by Dr. X", "no pain"], ["pt seen by doctor x no", "pain"])
    ... # doctest: +NORMALIZE_WHITESPACE
    [[Passage(note=0, start=0, end=16), Passage(note=1, start=0, end=2)],
     [Passage(note=1, start=3, end=7)]]
    """
    cleaned, origins = clean_with_origins(document(texts))
    # White space decides nothing: chunks hold the text's other characters, in order.
    solid = np.flatnonzero([not c.isspace() for c in cleaned])
    starts = np.array([0, *accumulate(len(text) + 1 for text in texts)])
    found = []
    at = 0
    for chunk in chunks:
        mine = "".join(chunk.split())
        where = solid[at : at + len(mine)]
        if "".join(map(cleaned.__getitem__, where)) != mine:
            raise ValueError("the chunks are not those of the texts")
        at += len(mine)
        found.append(_by_note(origins[where], starts))
    return found


def _by_note(origins: NDArray[np.int64], starts: NDArray[np.int64]) -> list[Passage]:
    notes = np.searchsorted(starts, origins, side="right") - 1
    first = np.flatnonzero(np.diff(notes, prepend=-1))
    last = np.append(first[1:], len(notes)) - 1
    return [
        Passage(
            int(notes[a]),
            int(origins[a] - starts[notes[a]]),
            int(origins[b] - starts[notes[a]]) + 1,
        )
        for a, b in zip(first, last, strict=True)
    ]


def clean_with_origins(text: str) -> tuple[str, NDArray[np.int64]]:
    """`clean(text)`, and for each of its characters the index in `text` that it stands for.

    The indices never fall. A replacement ("doctor") reaches from the first to the last character of
    what it replaces.
    """
    blank = text.replace("\n", " ").replace("\r", " ")
    start = len(blank) - len(blank.lstrip())
    stripped = blank.strip()
    lower = stripped.lower()
    origins = np.arange(start, start + len(stripped))
    if len(lower) != len(stripped):  # a few letters are two in lower case
        origins = np.repeat(origins, [len(c.lower()) for c in stripped])
    cleaned, origins = _replace(lower, origins, _BRACKETS, "", lower.rfind("]") + 1)
    for pattern, replacement in _THEN:
        cleaned, origins = _replace(cleaned, origins, pattern, replacement, len(cleaned))
    if cleaned != clean(text):  # the one definition of cleaning is `clean`
        raise AssertionError("clean_with_origins differs from clean")
    return cleaned, origins


def _replace(
    text: str, origins: NDArray[np.int64], pattern: re.Pattern[str], replacement: str, end: int
) -> tuple[str, NDArray[np.int64]]:
    pieces: list[str] = []
    kept: list[NDArray[np.int64]] = []
    at = 0
    for match in pattern.finditer(text, 0, end):
        pieces += [text[at : match.start()], replacement]
        kept.append(origins[at : match.start()])
        if replacement:
            its = np.full(len(replacement), origins[match.start()])
            its[-1] = origins[match.end() - 1]
            kept.append(its)
        at = match.end()
    if not pieces:
        return text, origins
    return "".join(pieces) + text[at:], np.concatenate([*kept, origins[at:]])
