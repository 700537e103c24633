"""Find the passages of a chunk: the characters of the original notes that it came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from readmit_spark.notes.clean import clean
from readmit_spark.text_rules import Cleaning

_BRACKETS = re.compile(r"\[[^\]]*\]")
# After the brackets, in the order of `clean`.
_NUMBERS = {
    False: [(re.compile(r"[0-9](?<![0-9][0-9])[0-9]*\."), "")],
    True: [(re.compile(r"(?<!\S)[0-9]+\.(?![0-9])"), "")],
}
_HEADERS = [(re.compile(r"admission date:"), ""), (re.compile(r"discharge date:"), "")]
_OF_PROFILE = {
    "paper": [
        (re.compile(r"dr\."), "doctor"),
        (re.compile(r"m\.d\."), "md"),
        *_HEADERS,
        (re.compile(r"--|__|=="), ""),
    ],
    "default": [
        (re.compile(r"(?<![^\W_])dr\."), "doctor "),
        (re.compile(r"(?<![^\W_])(?<!\.)m\.d\."), "md"),
        *_HEADERS,
        (re.compile(r"--+|__+|==+"), " "),
    ],
}


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


def passages(
    texts: Sequence[str], chunks: Sequence[str], cleaning: Cleaning
) -> list[list[Passage]]:
    """Return for each chunk its passages, at most one in each note, in the order of the notes.

    texts: the notes in the order of the document. chunks: the chunks of `document(texts)` in order,
    from its beginning; text after the last chunk is ignored. cleaning: how it was cleaned. A
    passage reaches from the first to the last character of the note in the chunk and includes what
    cleaning removed in between. Raises ValueError if the chunks do not belong to the texts.

    >>> passages(["Pt seen by Dr. X", "no pain"], ["pt seen by doctor x no", "pain"],
    ...          Cleaning(published=True, keep_decimals=False))  # doctest: +NORMALIZE_WHITESPACE
    [[Passage(note=0, start=0, end=16), Passage(note=1, start=0, end=2)],
     [Passage(note=1, start=3, end=7)]]
    """
    cleaned, origins = clean_with_origins(document(texts), cleaning)
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


def clean_with_origins(text: str, cleaning: Cleaning) -> tuple[str, NDArray[np.int64]]:
    """Return `clean(text, cleaning)`, and the index in `text` of the origin of each character.

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
    rest = _OF_PROFILE["paper" if cleaning.published else "default"]
    for pattern, replacement in [*_NUMBERS[cleaning.keep_decimals], *rest]:
        cleaned, origins = _replace(cleaned, origins, pattern, replacement, len(cleaned))
    if cleaned != clean(text, cleaning):  # `clean` defines what cleaning does
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
            last_letter = max(0, len(replacement.rstrip()) - 1)
            of_replacement[last_letter:] = origins[match.end() - 1]
            piece_origins.append(of_replacement)
        at = match.end()
    if not pieces:
        return text, origins
    return "".join(pieces) + text[at:], np.concatenate([*piece_origins, origins[at:]])
