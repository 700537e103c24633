"""Make the examples of BERT's two pretraining tasks: masked tokens and next sentence.

Devlin et al. 2019 (https://arxiv.org/abs/1810.04805), appendix A.2; docs/method.md, section 11. Two
rules differ from the paper. The halves of a pair are whole segments, never cut. The model cannot
guess from lengths whether the second half follows the first: a true and a foreign second half are
chosen before the random choice between them, and of several foreign halves the one closest in
length to the true half is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from readmit_spark.notes.tokenizer import Vocabulary

Ids = list[int]
SPECIALS = 3  # [CLS] and two [SEP]
_FOREIGN_DRAWS = 20  # draws of a foreign half; the best one is used


class Pair(NamedTuple):
    """Two halves as token ids, without special tokens. document: index of the first's document."""

    document: int
    first: Ids
    second: Ids
    is_next: bool


class Example(NamedTuple):
    """[CLS] first [SEP] second [SEP] as input of the model.

    n_first: number of tokens up to and including the first [SEP]. masked: positions that the model
    must predict. answers: the true ids at these positions.
    """

    input_ids: Ids
    n_first: int
    masked: Ids
    answers: Ids


def sentence_pairs(
    documents: Sequence[Sequence[Ids]], budget: int, random: np.random.Generator
) -> list[Pair]:
    """Make pairs of whole segments; in half of them the second half follows the first.

    documents: the segments of each document as token ids. budget: the largest number of tokens in
    both halves together. Each document is read from its beginning: as many segments as fit, at
    least two, are split at a random segment boundary. With a foreign second half, reading continues
    after the first half, so that the true second half is not lost. A segment that fits beside no
    other is left out.
    """
    return [
        pair
        for index in range(len(documents))
        for pair in _pairs_of(index, documents, budget, random)
    ]


def _pairs_of(
    index: int, documents: Sequence[Sequence[Ids]], budget: int, random: np.random.Generator
) -> list[Pair]:
    segments = [segment for segment in documents[index] if segment]
    pairs, start = [], 0
    while start < len(segments):
        end, room = start, budget
        while end < len(segments) and len(segments[end]) <= room:
            room -= len(segments[end])
            end += 1
        if end - start < 2:
            start += 1
            continue
        cut = int(random.integers(start + 1, end))
        first, second = _join(segments[start:cut]), _join(segments[cut:end])
        foreign = _foreign_half(index, documents, len(second), budget - len(first), random)
        if foreign is None:
            start = cut
        elif random.random() < 0.5:
            pairs.append(Pair(index, first, second, True))
            start = end
        else:
            pairs.append(Pair(index, first, foreign, False))
            start = cut
    return pairs


def _foreign_half(
    index: int,
    documents: Sequence[Sequence[Ids]],
    length: int,
    room: int,
    random: np.random.Generator,
) -> Ids | None:
    """Draw consecutive segments of another document with at most `room` tokens.

    Of several draws, the one closest to `length` tokens is returned; None if none fits. As in true
    second halves, the first segment of a document is never included.
    """
    smallest_difference, best = room + 1, None
    for _ in range(_FOREIGN_DRAWS):
        other = int(random.integers(len(documents)))
        segments = documents[other]
        if other == index or len(segments) < 2:
            continue
        start = int(random.integers(1, len(segments)))
        for end, total in enumerate(accumulate(map(len, segments[start:])), start + 1):
            if total > room:
                break
            if total and abs(total - length) < smallest_difference:
                smallest_difference, best = abs(total - length), (segments, start, end)
    if best is None:
        return None
    segments, start, end = best
    return _join(segments[start:end])


def _join(segments: Sequence[Ids]) -> Ids:
    return [token for segment in segments for token in segment]


def masked_example(
    pair: Pair,
    vocabulary: Vocabulary,
    random: np.random.Generator,
    share: float = 0.15,
    whole_words: bool = False,
) -> Example:
    """Mask `share` of the pair's tokens, at least one.

    Of the masked tokens, 80 % become [MASK], 10 % a random entry of the vocabulary, and 10 % stay.
    Special tokens are never masked. With `whole_words`, all tokens of a word are masked or none; no
    more than `share` is masked unless the first word drawn is longer.
    """
    ids = [
        vocabulary.cls, *pair.first, vocabulary.sep, *pair.second, vocabulary.sep
    ]  # fmt: skip
    n_first = len(pair.first) + 2
    positions = np.array([i for i in range(1, len(ids) - 1) if i != n_first - 1])
    n_masked = max(1, round(share * len(positions)))
    groups = _words(ids, positions, vocabulary) if whole_words else [[int(p)] for p in positions]
    masked: Ids = []
    for group in random.permutation(len(groups)):
        if len(masked) + len(groups[group]) <= n_masked or not masked:
            masked += groups[group]
        if len(masked) >= n_masked:
            break
    masked.sort()
    answers = [ids[i] for i in masked]
    draws = random.random(len(masked))
    random_ids = random.choice(vocabulary.words, len(masked))
    for i, draw, random_id in zip(masked, draws, random_ids, strict=True):
        if draw < 0.8:
            ids[i] = vocabulary.mask
        elif draw < 0.9:
            ids[i] = int(random_id)
    return Example(ids, n_first, masked, answers)


def _words(ids: Ids, positions: NDArray[np.int64], vocabulary: Vocabulary) -> list[Ids]:
    """Group positions by word. The first token of a half always begins a word."""
    words: list[Ids] = []
    for position in positions.tolist():
        if words and vocabulary.pieces[ids[position]] and words[-1][-1] == position - 1:
            words[-1].append(position)
        else:
            words.append([position])
    return words
