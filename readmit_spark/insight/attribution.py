"""Map attributions of tokens to words and their places in the notes, and test the attributions.

An attribution is the contribution of a part to the logit of a chunk.
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
from readmit_spark.text_rules import Cleaning

Floats = NDArray[np.float64]

RANDOM_SETS = 20


@dataclass(frozen=True)
class Word:
    """A word of a chunk.

    segment: index of its segment in the document. places: its passages in the original notes,
    usually one.
    """

    text: str
    segment: int
    places: list[Passage]


def chunk_words(
    texts: Sequence[str], chunks: Sequence[str], index: int, cleaning: Cleaning
) -> list[Word]:
    """Return the words of chunk `index`.

    texts: the notes in the order of the document. chunks: the chunks of `document(texts)`.
    cleaning: how it was cleaned.
    """
    words = chunks[index].split()
    word_passages = passages(texts, [*chunks[:index], *words], cleaning)[index:]
    # Positions count characters without white space: a word may be cut between two chunks.
    segments = segment(clean(document(texts), cleaning))
    segment_ends = np.array([*accumulate(map(_n_characters, segments))])
    before = sum(map(_n_characters, chunks[:index]))
    starts = before + np.array([0, *accumulate(map(len, words))][:-1], dtype=np.int64)
    numbers = np.searchsorted(segment_ends, starts, side="right")
    return [
        Word(word, int(number), places)
        for word, number, places in zip(words, numbers, word_passages, strict=True)
    ]


def by_word(tokens: ArrayLike, word_of: Sequence[int], n_words: int) -> Floats:
    """Return the [n_words] sums of the attributions of each word's tokens.

    tokens: [tokens] attributions. word_of: [tokens] index of each token's word, -1 for special
    tokens. A word whose tokens were cut off has 0.
    """
    values, words = np.asarray(tokens, dtype=np.float64), np.asarray(word_of, dtype=np.int64)
    in_word = words >= 0
    sums = np.bincount(words[in_word], weights=values[in_word], minlength=n_words)
    return sums.astype(np.float64)


@dataclass(frozen=True)
class Deletion:
    """The result of removing words from a chunk.

    removed: number of words removed. strongest: decrease of the logit without the words of highest
    attribution. random: mean decrease without random sets of other words. beaten: share of the
    random sets with a smaller decrease.
    """

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
    """Test whether the words with the highest attributions raise the logit more than others.

    words: [words] attributions. word_of: [tokens] as in `by_word`. logits_without: maps masks
    [tokens], True for the tokens that stay, to logits. logit: the logit of the whole chunk. share:
    share of the words with tokens to remove, at least one word and at most half of them. Returns
    None for fewer than two words with tokens.
    """
    values, word_ids = np.asarray(words, dtype=np.float64), np.asarray(word_of, dtype=np.int64)
    present = np.unique(word_ids[word_ids >= 0])
    if len(present) < 2:
        return None
    n = min(max(1, round(share * len(present))), len(present) // 2)
    order = present[np.argsort(-values[present], kind="stable")]
    rng = np.random.default_rng(seed)
    sets = [order[:n], *(rng.choice(order[n:], n, replace=False) for _ in range(RANDOM_SETS))]
    decrease = logit - logits_without([~np.isin(word_ids, removed) for removed in sets])
    strongest, others = decrease[0], decrease[1:]
    return Deletion(n, float(strongest), float(others.mean()), float((others < strongest).mean()))


def rollout(maps: ArrayLike) -> Floats:
    """Compute attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928).

    maps: [layers, heads, tokens, tokens]. Each layer is half its mean over heads and half the
    identity (the residual connection). The result is the product over the layers, [tokens,
    tokens]; its rows sum to 1.
    """
    means = np.asarray(maps, dtype=np.float64).mean(axis=1)
    product = np.eye(means.shape[-1])
    for layer in means:
        product = (layer + np.eye(len(layer))) / 2 @ product
    return product


def _n_characters(text: str) -> int:
    """Count the characters that are not white space."""
    return len("".join(text.split()))
