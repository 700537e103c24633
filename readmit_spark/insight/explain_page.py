"""Render explanations as one HTML page: the words behind a score and their places in the notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readmit_spark.insight import attention_pictures
from readmit_spark.pages.html import page_environment

TOP_WORDS, TOP_SEGMENTS = 10, 5


@dataclass(frozen=True)
class Place:
    """The characters ``TEXT[start:end]`` of the note ``row_id`` in NOTEEVENTS."""

    row_id: int | str | None
    category: str
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """A word of the driving chunk.

    strength: attribution / largest absolute attribution of the chunk, from -1 to 1. text: None
    without `explain.include_text`. read: False if the word is beyond the model's limit of tokens;
    its attribution of 0 then has no meaning.
    """

    number: int  # in the chunk, from 1
    attribution: float
    strength: float
    segment: int
    places: Sequence[Place]
    text: str | None
    read: bool


@dataclass(frozen=True)
class Segment:
    """The words of the chunk that belong to one segment of the document."""

    number: int  # in the chunk, from 1
    attribution: float
    words: Sequence[Word]
    places: Sequence[Place]  # in each note, from its first to its last character


@dataclass(frozen=True)
class Chunk:
    """A chunk of the admission. share: share of the score; the shares of all chunks sum to 1."""

    index: int
    probability: float
    share: float


@dataclass(frozen=True)
class Explained:
    """The explanation of one admission, or of a text without an admission (hadm_id None).

    driving: the chunk with the largest probability, whose words are explained. logit: of that
    chunk. baseline: logit of padding of the same length. error: sum of the attributions - (logit -
    baseline). steps: points of the integral. complete: whether the error is small.
    """

    subject_id: int | str | None
    hadm_id: int | str | None
    score: float
    chunks: Sequence[Chunk]
    driving: Chunk
    logit: float
    baseline: float
    error: float
    steps: int
    complete: bool
    deletion: Mapping[str, Any] | None
    words: Sequence[Word]
    segments: Sequence[Segment]

    @property
    def strongest(self) -> Sequence[Word]:
        """The words that raise the logit most."""
        raising = [word for word in self.words if word.attribution > 0]
        return sorted(raising, key=lambda word: -word.attribution)[:TOP_WORDS]

    @property
    def lowering(self) -> Sequence[Word]:
        """The words that lower the logit most."""
        lowering = [word for word in self.words if word.attribution < 0]
        return sorted(lowering, key=lambda word: word.attribution)[:TOP_WORDS]

    @property
    def top_segments(self) -> Sequence[Segment]:
        """The segments that raise the logit most."""
        read = [s for s in self.segments if any(word.read for word in s.words)]
        return sorted(read, key=lambda s: -s.attribution)[:TOP_SEGMENTS]

    @property
    def unread(self) -> int:
        """The number of words beyond the model's limit of tokens."""
        return sum(not word.read for word in self.words)


@dataclass(frozen=True)
class Attention:
    """The attention of the driving chunk.

    maps: [layers, heads, tokens, tokens]. rollout: [tokens, tokens]. tokens: their spelling; None
    if text may not be shown.
    """

    maps: NDArray[np.float32]
    rollout: NDArray[np.float64]
    tokens: Sequence[str] | None


def explained_of(row: Mapping[str, Any]) -> Explained:
    """Convert a row of the table of explanations (`output_tables.EXPLAINED`)."""
    values = [word["attribution"] for word in row["words"]]
    largest = max(map(abs, values), default=0.0) or 1.0
    words = [
        Word(
            number,
            word["attribution"],
            word["attribution"] / largest,
            word["segment"],
            [_place(place) for place in word["places"]],
            word["text"],
            word["read"],
        )
        for number, word in enumerate(row["words"], 1)
    ]
    score = row["score"] or 1.0
    chunks = [
        Chunk(i, chunk["probability"], chunk["adds"] / score)
        for i, chunk in enumerate(row["chunks"])
    ]
    return Explained(
        row["subject_id"], row["hadm_id"], row["score"], chunks, chunks[row["driving_chunk"]],
        row["logit"], row["baseline"], row["error"], row["steps"], row["complete"],
        row["deletion"], words, _segments(words),
    )  # fmt: skip


def render_explain(
    explained: Sequence[Explained], model: str, where: str, c: float, attention: Attention | None
) -> str:
    """Render the page. where: describes which scores are explained. c: the c of the vote."""
    templates = page_environment()
    templates.filters |= {"signed": _signed, "tint": _tint, "place": _place_text}
    return templates.get_template("insight/explain.html.j2").render(
        explained=explained,
        model=model,
        where=where,
        c=c,
        attention=attention,
        maps=_maps(attention) if attention else {},
    )


def _maps(attention: Attention) -> dict[str, bytes]:
    """Draw the pictures of attention: caption -> PNG."""
    layers, heads = attention.maps.shape[:2]
    tokens = attention.tokens
    last = attention.maps[-1]
    draw = attention_pictures.one_map
    return {
        f"All {layers * heads} maps: {layers} layers of {heads} heads": (
            attention_pictures.all_maps(attention.maps)
        ),
        "All heads of the last layer": attention_pictures.layer_grid(last),
        f"Layer {layers}, head 1": draw(last[0], tokens, title=f"Layer {layers}, head 1"),
        f"Layer {layers}, mean over heads": draw(
            last.mean(axis=0), tokens, title=f"Layer {layers}, mean over heads"
        ),
        "Attention rollout": draw(attention.rollout, tokens, title="Attention rollout"),
    }


def _segments(words: Sequence[Word]) -> list[Segment]:
    segments = []
    for number, (_, group) in enumerate(groupby(words, key=lambda word: word.segment), 1):
        segment_words = list(group)
        attribution = float(sum(word.attribution for word in segment_words))
        segments.append(Segment(number, attribution, segment_words, _span(segment_words)))
    return segments


def _span(words: Sequence[Word]) -> list[Place]:
    """Return for each note the place from the first to the last character of the words."""
    spans: dict[tuple[int | str | None, str], tuple[int, int]] = {}
    for word in words:
        for place in word.places:
            key = (place.row_id, place.category)
            start, end = spans.get(key, (place.start, place.end))
            spans[key] = (min(start, place.start), max(end, place.end))
    return [Place(*key, *span) for key, span in spans.items()]


def _place(place: Mapping[str, Any]) -> Place:
    return Place(place["row_id"], (place["category"] or "").strip(), place["start"], place["end"])


def _place_text(places: Sequence[Place]) -> str:
    return "; ".join(
        f"{p.category}{f', note {p.row_id}' if p.row_id is not None else ''}, "
        f"{p.start:,}\N{EN DASH}{p.end:,}"
        for p in places
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _tint(strength: float) -> str:
    """Return the background colour of a word, light enough for dark text."""
    colour = "194, 87, 26" if strength > 0 else "27, 94, 155"
    return f"rgba({colour}, {min(1.0, abs(strength)) * 0.55:.3f})"
