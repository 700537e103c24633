"""Texts compared by their shingles: all runs of five words in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from readmit_spark.notes.clean import clean

WORDS = 5  # a shingle
LEAST = 10  # shingles of a text that can be told from chance


def shingles(text: str) -> set[str]:
    """All runs of five words of a cleaned text.

    >>> sorted(shingles("a b c d e f"))
    ['a b c d e', 'b c d e f']
    """
    words = text.split()
    return {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}


def containment(part: set[str], whole: set[str]) -> float:
    """The share of `part` that is in `whole` (Broder 1997); 0 where `part` has fewer than ten."""
    return len(part & whole) / len(part) if len(part) >= LEAST else 0.0


@dataclass(frozen=True)
class Note:
    """day: of the stay, counted from 0 on the day of admission; None where it is not known."""

    day: int | None
    discharge: bool
    text: str


@dataclass(frozen=True)
class Found:
    """Of an early document: whether it holds a discharge summary, whether a note of a later day."""

    discharge: bool
    late: bool


def text_out_of_window(document: Sequence[str], notes: Iterable[Note], days: int) -> Found:
    """What the first `days` days of an admission's notes may not hold, looked for in its document.

    document: its chunks, in order. notes: all of the admission. A discharge summary is inside where
    nine tenths of it are; a note of a later day where half of what no earlier note says is, as
    notes are copied forward.
    """
    inside = shingles(" ".join(document))
    summaries, late, early = [], [], set()
    for note in notes:
        mine = shingles(clean(note.text))
        if note.discharge:
            summaries.append(mine)
        elif note.day is not None and note.day < days:
            early |= mine
        else:
            late.append(mine)
    return Found(
        discharge=any(containment(mine, inside) >= 0.9 for mine in summaries),
        late=any(containment(mine - early, inside) >= 0.5 for mine in late),
    )
