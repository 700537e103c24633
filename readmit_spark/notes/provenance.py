"""Find the passages of a chunk: the characters of the original notes that it came from."""

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
_REPLACEMENTS = (  # after the brackets, in the order of `clean`
    (_NUMBERED, ""),
    (re.compile(r"dr\."), "doctor"),
    (re.compile(r"m\.d\."), "md"),
    (re.compile(r"admission date:"), ""),
    (re.compile(r"discharge date:"), ""),
    (re.compile(r"--|__|=="), ""),
)


NOTE_SEPARATOR = " "  # between the notes of a document


@dataclass(frozen=True)
class Passage:
    """The characters text[start:end] of note number `note`; all numbers count from 0."""

    note: int
    start: int
    end: int


def document(texts: Sequence[str]) -> str:
    """Join the notes of an admission, in order, by a space."""
    return NOTE_SEPARATOR.join(texts)


def passages(texts: Sequence[str], chunks: Sequence[str]) -> list[list[Passage]]:
    """Return for each chunk its passages, at most one in each note, in the order of the notes.

    texts: the notes in the order of the document. chunks: the chunks of `clean(document(texts))` in
    order, from its beginning; text after the last chunk is ignored. A passage reaches from the
    first to the last character of the note in the chunk and includes what cleaning removed in
    between. Raises ValueError if the chunks do not belong to the texts.

    >>> passages(["Pt seen by Dr. X", "no pain"], ["pt seen by doctor x no", "pain"])
    ... # doctest: +NORMALIZE_WHITESPACE
    [[Passage(note=0, start=0, end=16), Passage(note=1, start=0, end=2)],
     [Passage(note=1, start=3, end=7)]]
    """
    cleaned, origins = clean_with_origins(document(texts))
    # Chunking changes white space only, so all other characters are compared.
    positions = np.flatnonzero([not c.isspace() for c in cleaned])
    note_starts = np.array([0, *accumulate(len(text) + 1 for text in texts)])
    result = []
    at = 0
    for chunk in chunks:
        characters = "".join(chunk.split())
        in_chunk = positions[at : at + len(characters)]
        if "".join(map(cleaned.__getitem__, in_chunk)) != characters:
            raise ValueError("the chunks do not belong to the texts")
        at += len(characters)
        result.append(_by_note(origins[in_chunk], note_starts))
    return result


def _by_note(origins: NDArray[np.int64], starts: NDArray[np.int64]) -> list[Passage]:
    """Group rising positions in the document into one passage for each note."""
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
    """Return `clean(text)` and for each of its characters the index in `text` that it came from.

    The indices never decrease. In a replacement ("doctor"), the last letter has the index of the
    last replaced character and all others that of the first.
    """
    one_line = text.replace("\n", " ").replace("\r", " ")
    start = len(one_line) - len(one_line.lstrip())
    stripped = one_line.strip()
    lower = stripped.lower()
    origins = np.arange(start, start + len(stripped))
    if len(lower) != len(stripped):  # a few letters become two characters in lower case
        origins = np.repeat(origins, [len(c.lower()) for c in stripped])
    cleaned, origins = _replace(lower, origins, _BRACKETS, "", lower.rfind("]") + 1)
    for pattern, replacement in _REPLACEMENTS:
        cleaned, origins = _replace(cleaned, origins, pattern, replacement, len(cleaned))
    if cleaned != clean(text):  # `clean` defines what cleaning does
        raise AssertionError("clean_with_origins differs from clean")
    return cleaned, origins


def _replace(
    text: str, origins: NDArray[np.int64], pattern: re.Pattern[str], replacement: str, end: int
) -> tuple[str, NDArray[np.int64]]:
    """Replace the pattern's matches in text[:end]; return the new text and its origins."""
    pieces: list[str] = []
    piece_origins: list[NDArray[np.int64]] = []
    at = 0
    for match in pattern.finditer(text, 0, end):
        pieces += [text[at : match.start()], replacement]
        piece_origins.append(origins[at : match.start()])
        if replacement:
            of_replacement = np.full(len(replacement), origins[match.start()])
            of_replacement[-1] = origins[match.end() - 1]
            piece_origins.append(of_replacement)
        at = match.end()
    if not pieces:
        return text, origins
    return "".join(pieces) + text[at:], np.concatenate([*piece_origins, origins[at:]])
