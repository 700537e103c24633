"""From tokens to what a person reads: words, segments, their places in the notes; and a test of it.

Attributions are in logits: what each part adds to the logit of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.notes.clean import clean
from readmit_spark.notes.provenance import Passage, document, passages
from readmit_spark.notes.segment import segment

Floats = NDArray[np.float64]

RANDOM_SETS = 20


@dataclass(frozen=True)
class Word:
    """A word of a chunk; segment: the number of its segment in the document; places: its characters
    in the notes' own texts, usually one passage."""

    text: str
    segment: int
    places: list[Passage]


def chunk_words(texts: Sequence[str], chunks: Sequence[str], index: int) -> list[Word]:
    """The words of chunk `index`, of the chunks that `clean(document(texts))` was cut into."""
    words = chunks[index].split()
    places = passages(texts, [*chunks[:index], *words])[index:]
    # Counted in characters that are not white space: a chunker may part a word, no segment does.
    ends = np.array([*accumulate(map(_solid, segment(clean(document(texts)))))])
    before = sum(map(_solid, chunks[:index]))
    starts = before + np.array([0, *accumulate(map(len, words))][:-1], dtype=np.int64)
    numbers = np.searchsorted(ends, starts, side="right")
    return [
        Word(word, int(number), place)
        for word, number, place in zip(words, numbers, places, strict=True)
    ]


def by_word(tokens: ArrayLike, word_of: Sequence[int], n_words: int) -> Floats:
    """[n_words] sums of the attributions [tokens] of each word's tokens; -1 belongs to no word, and
    a word whose tokens were cut off has 0."""
    values, words = np.asarray(tokens, dtype=np.float64), np.asarray(word_of, dtype=np.int64)
    mine = words >= 0
    return np.bincount(words[mine], weights=values[mine], minlength=n_words).astype(np.float64)


@dataclass(frozen=True)
class Deletion:
    """Taking words out. removed: how many. strongest: by how much the logit falls without those of
    the highest attribution; random: the mean fall without as many others; beaten: the share
    of random sets without which it falls less."""

    removed: int
    strongest: float
    random: float
    beaten: float


def deletion_test(
    words: ArrayLike,
    word_of: Sequence[int],
    logits_without: Callable[[list[NDArray[np.bool_]]], Floats],
    logit: float,
    share: float,
    seed: int,
) -> Deletion | None:
    """Whether the words that are said to raise the logit do so.

    words: [words] attributions. word_of: [tokens]. logits_without: of masks [tokens], true of what
    stays, the logits. share: of the words that have tokens, from one word to half of them. None
    where there are fewer than two such words.
    """
    values, of = np.asarray(words, dtype=np.float64), np.asarray(word_of, dtype=np.int64)
    there = np.unique(of[of >= 0])
    if len(there) < 2:
        return None
    n = min(max(1, round(share * len(there))), len(there) // 2)
    order = there[np.argsort(-values[there], kind="stable")]
    rng = np.random.default_rng(seed)
    sets = [order[:n], *(rng.choice(order[n:], n, replace=False) for _ in range(RANDOM_SETS))]
    falls = logit - logits_without([~np.isin(of, out) for out in sets])
    return Deletion(
        n, float(falls[0]), float(falls[1:].mean()), float((falls[1:] < falls[0]).mean())
    )


def rollout(maps: ArrayLike) -> Floats:
    """Attention rollout, [tokens, tokens] from maps [layers, heads, tokens, tokens]: half of each
    layer's mean over heads and half the identity (the residual path), multiplied through the layers
    (Abnar and Zuidema 2020, arXiv 2005.00928). Rows sum to 1."""
    means = np.asarray(maps, dtype=np.float64).mean(axis=1)
    through = np.eye(means.shape[-1])
    for layer in means:
        through = (layer + np.eye(len(layer))) / 2 @ through
    return through


def _solid(text: str) -> int:
    return len("".join(text.split()))
