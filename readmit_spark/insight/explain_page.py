"""Explanations as one self-contained page: from a patient's score to words and where they stand."""

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
    """``TEXT[start:end]`` of the note as it is in the record."""

    row_id: int | None
    category: str
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """text: only where `explain.include_text` asks for it. strength: the attribution from -1 to 1,
    in units of the chunk's largest. read: False of one that the model was not given, being past its
    limit of tokens: its attribution of 0 says nothing."""

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
    places: Sequence[Place]  # from the first to the last character it has of each note


@dataclass(frozen=True)
class Chunk:
    """share: its part of the score, from 0 to 1; the shares of all chunks sum to 1."""

    index: int
    probability: float
    share: float


@dataclass(frozen=True)
class Explained:
    """One admission, or a text without one (hadm_id None). Attributions are in logits."""

    subject_id: int | None
    hadm_id: int | None
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
        rising = [word for word in self.words if word.attribution > 0]
        return sorted(rising, key=lambda word: -word.attribution)[:TOP_WORDS]

    @property
    def lowering(self) -> Sequence[Word]:
        """The words that lower it most."""
        falling = [word for word in self.words if word.attribution < 0]
        return sorted(falling, key=lambda word: word.attribution)[:TOP_WORDS]

    @property
    def top_segments(self) -> Sequence[Segment]:
        read = [s for s in self.segments if any(word.read for word in s.words)]
        return sorted(read, key=lambda s: -s.attribution)[:TOP_SEGMENTS]

    @property
    def unread(self) -> int:
        """How many of the words the model was not given."""
        return sum(not word.read for word in self.words)


@dataclass(frozen=True)
class Attention:
    """maps: [layers, heads, tokens, tokens]. rollout: [tokens, tokens]. tokens: their spelling,
    only where text may be shown."""

    maps: NDArray[np.float32]
    rollout: NDArray[np.float64]
    tokens: Sequence[str] | None


def explained_of(row: Mapping[str, Any]) -> Explained:
    """From a row of `spark.explain.EXPLAINED`."""
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
    whole = row["score"] or 1.0
    chunks = [
        Chunk(i, chunk["probability"], chunk["adds"] / whole)
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
    pages = page_environment()
    pages.filters |= {"signed": _signed, "tint": _tint, "place": _words_for}
    return pages.get_template("insight/explain.html.j2").render(
        explained=explained,
        model=model,
        where=where,
        c=c,
        attention=attention,
        maps=_maps(attention) if attention else {},
    )


def _maps(attention: Attention) -> dict[str, bytes]:
    layers, heads = attention.maps.shape[:2]
    shown = attention.tokens
    last = attention.maps[-1]
    draw = attention_pictures.one_map
    return {
        f"All {layers * heads} maps: {layers} layers of {heads} heads": (
            attention_pictures.all_maps(attention.maps)
        ),
        "The last layer, head by head": attention_pictures.layer_grid(last),
        f"Layer {layers}, head 1": draw(last[0], shown, title=f"Layer {layers}, head 1"),
        f"Layer {layers}, mean over heads": draw(
            last.mean(axis=0), shown, title=f"Layer {layers}, mean over heads"
        ),
        "Attention rollout": draw(attention.rollout, shown, title="Attention rollout"),
    }


def _segments(words: Sequence[Word]) -> list[Segment]:
    found = []
    for number, (_, group) in enumerate(groupby(words, key=lambda word: word.segment), 1):
        mine = list(group)
        attribution = float(sum(word.attribution for word in mine))
        found.append(Segment(number, attribution, mine, _joined(mine)))
    return found


def _joined(words: Sequence[Word]) -> list[Place]:
    """From the first to the last character of each note."""
    spans: dict[tuple[int | None, str], tuple[int, int]] = {}
    for word in words:
        for place in word.places:
            key = (place.row_id, place.category)
            start, end = spans.get(key, (place.start, place.end))
            spans[key] = (min(start, place.start), max(end, place.end))
    return [Place(*key, *span) for key, span in spans.items()]


def _place(place: Mapping[str, Any]) -> Place:
    return Place(place["row_id"], (place["category"] or "").strip(), place["start"], place["end"])


def _words_for(places: Sequence[Place]) -> str:
    return "; ".join(
        f"{p.category}{f', note {p.row_id}' if p.row_id is not None else ''}, "
        f"{p.start:,}\N{EN DASH}{p.end:,}"
        for p in places
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _tint(strength: float) -> str:
    """A background for a word; dark text stays readable on the strongest."""
    colour = "194, 87, 26" if strength > 0 else "27, 94, 155"
    return f"rgba({colour}, {min(1.0, abs(strength)) * 0.55:.3f})"
