"""BERT's two exercises, made of segments: which words are hidden, and does the second half follow.

Devlin et al. 2019 (https://arxiv.org/abs/1810.04805), appendix A.2; docs/method.md,
section 11. Two rules are ours. Halves are whole segments, never cut. And lengths do not tell the
answer to the second exercise: before the coin is tossed, both a true and a foreign second half are
found, and of several foreign ones the one nearest to the true one in length.
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
_TRIES = 20  # to find a foreign half


class Pair(NamedTuple):
    """Two halves as token ids, without specials; `document` is the first one's place."""

    document: int
    first: Ids
    second: Ids
    is_next: bool


class Example(NamedTuple):
    """[CLS] first [SEP] second [SEP] as the model sees it. n_first: tokens up to the first [SEP],
    it included. masked: places whose token is asked for; answers: their true ids."""

    input_ids: Ids
    n_first: int
    masked: Ids
    answers: Ids


def sentence_pairs(
    documents: Sequence[Sequence[Ids]], budget: int, random: np.random.Generator
) -> list[Pair]:
    """Pairs of whole segments: half of them follow each other, half come from two documents.

    documents: segments as token ids, in order. budget: tokens that both halves may have together. A
    walk over each document takes as many segments as fit, at least two, and cuts them in two at a
    random place; where the second half is a foreign one, the walk goes on behind the first. A
    segment that fits beside no other is left out.
    """
    return [
        pair
        for place in range(len(documents))
        for pair in _pairs_of(place, documents, budget, random)
    ]


def _pairs_of(
    place: int, documents: Sequence[Sequence[Ids]], budget: int, random: np.random.Generator
) -> list[Pair]:
    segments = [segment for segment in documents[place] if segment]
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
        first, second = _joined(segments[start:cut]), _joined(segments[cut:end])
        foreign = _foreign(place, documents, len(second), budget - len(first), random)
        if foreign is None:
            start = cut
        elif random.random() < 0.5:
            pairs.append(Pair(place, first, second, True))
            start = end
        else:
            pairs.append(Pair(place, first, foreign, False))
            start = cut
    return pairs


def _foreign(
    place: int,
    documents: Sequence[Sequence[Ids]],
    length: int,
    room: int,
    random: np.random.Generator,
) -> Ids | None:
    """Consecutive segments of another document that fit into the room; of a few draws those nearest
    in length. None where no draw fits.

    They begin behind a document's first segment, as true second halves do.
    """
    nearest, found = room + 1, None
    for _ in range(_TRIES):
        other = int(random.integers(len(documents)))
        segments = documents[other]
        if other == place or len(segments) < 2:
            continue
        start = int(random.integers(1, len(segments)))
        for end, total in enumerate(accumulate(map(len, segments[start:])), start + 1):
            if total > room:
                break
            if total and abs(total - length) < nearest:
                nearest, found = abs(total - length), (segments, start, end)
    if found is None:
        return None
    segments, start, end = found
    return _joined(segments[start:end])


def _joined(segments: Sequence[Ids]) -> Ids:
    return [token for segment in segments for token in segment]


def masked_example(
    pair: Pair,
    vocabulary: Vocabulary,
    random: np.random.Generator,
    share: float = 0.15,
    whole_words: bool = False,
) -> Example:
    """The pair with `share` of its tokens hidden, at least one: of these 80 % become [MASK], 10 % a
    random entry, 10 % stay. Specials are never hidden. With `whole_words` all pieces of a word are
    hidden or none, and no more than the share unless the first word drawn is longer."""
    ids = [
        vocabulary.cls, *pair.first, vocabulary.sep, *pair.second, vocabulary.sep
    ]  # fmt: skip
    n_first = len(pair.first) + 2
    places = np.array([i for i in range(1, len(ids) - 1) if i != n_first - 1])
    wanted = max(1, round(share * len(places)))
    groups = _words(ids, places, vocabulary) if whole_words else [[int(p)] for p in places]
    masked: Ids = []
    for group in random.permutation(len(groups)):
        if len(masked) + len(groups[group]) <= wanted or not masked:
            masked += groups[group]
        if len(masked) >= wanted:
            break
    masked.sort()
    answers = [ids[i] for i in masked]
    fate = random.random(len(masked))
    strangers = random.choice(vocabulary.words, len(masked))
    for i, f, stranger in zip(masked, fate, strangers, strict=True):
        if f < 0.8:
            ids[i] = vocabulary.mask
        elif f < 0.9:
            ids[i] = int(stranger)
    return Example(ids, n_first, masked, answers)


def _words(ids: Ids, places: NDArray[np.int64], vocabulary: Vocabulary) -> list[Ids]:
    """The places of each word's pieces. A half begins a word, whatever its first piece says."""
    words: list[Ids] = []
    for place in places.tolist():
        if words and vocabulary.pieces[ids[place]] and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words
