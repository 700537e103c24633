"""Compare texts by their shingles (runs of five words)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from readmit_spark.notes.clean import clean
from readmit_spark.text_rules import Cleaning

WORDS = 5  # a shingle
MIN_SHINGLES = 10  # fewer agree by chance


def shingles(text: str) -> set[str]:
    """Return all runs of five words of a cleaned text.

    >>> sorted(shingles("a b c d e f"))
    ['a b c d e', 'b c d e f']
    """
    words = text.split()
    return {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}


def containment(part: set[str], text: set[str]) -> float:
    """Return the share of `part` that is in `text` (Broder 1997).

    It is 0 if `part` has fewer than MIN_SHINGLES.
    """
    return len(part & text) / len(part) if len(part) >= MIN_SHINGLES else 0.0


@dataclass(frozen=True)
class Note:
    """A note of an admission.

    charted: the day of its CHARTDATE, 0 on the day of admission. read: the day on which it could
    first be read. None if unknown.
    """

    charted: int | None
    read: int | None
    discharge: bool
    text: str


@dataclass(frozen=True)
class OutOfWindow:
    """Whether an early document contains a discharge summary, a note that was charted after its
    window, and one that nobody could read by its end."""

    discharge: bool
    charted_late: bool
    read_late: bool


def find_out_of_window(
    document: Sequence[str], notes: Iterable[Note], days: int, cleaning: Cleaning
) -> OutOfWindow:
    """Search an early document for text that its window may not contain.

    document: its chunks, in order. notes: all notes of the admission. days: length of the window.
    cleaning: of the chunks. The document contains a discharge summary if it has nine tenths of the
    summary's shingles. It contains a later note if it has half of the note's new shingles. Shingles
    of earlier notes do not count, because notes are copied forward.
    """
    present = shingles(" ".join(document))
    found = [(note, shingles(clean(note.text, cleaning))) for note in notes]
    summaries = [own for note, own in found if note.discharge]
    others = [(note, own) for note, own in found if not note.discharge]
    return OutOfWindow(
        discharge=any(containment(summary, present) >= 0.9 for summary in summaries),
        charted_late=_has_late(present, [(note.charted, own) for note, own in others], days),
        read_late=_has_late(present, [(note.read, own) for note, own in others], days),
    )


def _has_late(present: set[str], notes: Sequence[tuple[int | None, set[str]]], days: int) -> bool:
    """Return whether a text has half of the new shingles of a note of a later day, or of no day."""
    is_early = [day is not None and day < days for day, _ in notes]
    early = set().union(*(own for (_, own), first in zip(notes, is_early, strict=True) if first))
    late = [own for (_, own), first in zip(notes, is_early, strict=True) if not first]
    return any(containment(own - early, present) >= 0.5 for own in late)
