"""Pairs and masks: their definition, and shares over many draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from readmit_spark.pretraining.examples import Pair, Vocabulary, masked_example, sentence_pairs

CLS, SEP, MASK, PIECES = 1, 2, 3, range(80, 100)
VOCABULARY = Vocabulary(
    CLS, SEP, MASK, np.arange(10, 100), np.array([i in PIECES for i in range(100)])
)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def documents(n: int, seed: int = 1) -> list[list[list[int]]]:
    """Make documents in which each token is document * 10,000 + segment * 100 + position.

    Every other document has long segments, as notes of different authors do.
    """
    draw = random(seed)
    return [
        [
            [d * 10_000 + s * 100 + i for i in range(draw.integers(*((3, 30), (20, 50))[d % 2]))]
            for s in range(draw.integers(1, 9))
        ]
        for d in range(n)
    ]


@pytest.mark.parametrize("budget", [30, 60, 125])
def test_halves_are_whole_segments_of_the_right_documents(budget: int) -> None:
    texts = documents(400)
    pairs = sentence_pairs(texts, budget, random())
    assert len(pairs) > 100
    for document, first, second, is_next in pairs:
        assert len(first) + len(second) <= budget
        for half in (first, second):
            segments = list(dict.fromkeys((t // 10_000, t % 10_000 // 100) for t in half))
            source, numbers = {d for d, _ in segments}, [s for _, s in segments]
            assert len(source) == 1
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
            whole = [t for d, s in segments for t in texts[d][s]]
            assert half == whole
        assert first[0] // 10_000 == document
        assert (second[0] // 10_000 == document) == is_next
        # No second half, true or foreign, begins a document: that would reveal the answer.
        assert second[0] % 10_000 // 100 > 0
        if is_next:
            assert second[0] % 10_000 // 100 == first[-1] % 10_000 // 100 + 1


@pytest.mark.parametrize("budget", [60, 125])
def test_half_of_the_pairs_follow_and_lengths_do_not_reveal_which(budget: int) -> None:
    pairs = sentence_pairs(documents(3000), budget, random())
    follows = np.array([pair.is_next for pair in pairs])
    assert follows.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(pairs)))

    first = np.array([len(pair.first) for pair in pairs])
    second = np.array([len(pair.second) for pair in pairs])
    for values in (first, second, first + second, (first + second) ** 2):
        spread = values.std() * np.sqrt(4 / len(pairs))
        assert values[follows].mean() == pytest.approx(values[~follows].mean(), abs=4 * spread)


def test_documents_without_a_pair() -> None:
    assert sentence_pairs([], 60, random()) == []
    assert sentence_pairs([[[1, 2]]], 60, random()) == []  # nothing follows
    assert sentence_pairs([[[1, 2], [3, 4]]], 60, random()) == []  # no other document
    long = [[[1] * 50, [2] * 50], [[3] * 50, [4] * 50]]
    assert sentence_pairs(long, 60, random()) == []  # none fits beside another
    assert sentence_pairs([[[1], [], [2]], [[3], [4]]], 60, random())


def test_the_same_seed_gives_the_same_pairs() -> None:
    texts = documents(20)
    assert sentence_pairs(texts, 60, random(5)) == sentence_pairs(texts, 60, random(5))
    assert sentence_pairs(texts, 60, random(5)) != sentence_pairs(texts, 60, random(6))


def pair(length: int = 100) -> Pair:
    tokens = random(3).integers(10, 80, 2 * length).tolist()
    return Pair(0, tokens[:length], tokens[length:], True)


def test_answers_restore_the_pair() -> None:
    given = pair()
    example = masked_example(given, VOCABULARY, random())
    ids = list(example.input_ids)
    for place, answer in zip(example.masked, example.answers, strict=True):
        ids[place] = answer
    assert ids == [CLS, *given.first, SEP, *given.second, SEP]
    assert example.n_first == len(given.first) + 2
    assert len(set(example.masked)) == len(example.masked) == 30  # 15 % of 200
    assert not {0, example.n_first - 1, len(ids) - 1} & set(example.masked)


def test_four_fifths_become_the_mask_and_a_tenth_stays() -> None:
    given, fates, places = pair(), Counter[str](), Counter[int]()
    for seed in range(400):
        example = masked_example(given, VOCABULARY, random(seed))
        places.update(example.masked)
        for place, answer in zip(example.masked, example.answers, strict=True):
            shown = example.input_ids[place]
            fates["mask" if shown == MASK else "same" if shown == answer else "other"] += 1
            assert shown == MASK or shown in VOCABULARY.words
    total = fates.total()
    # One stranger in ninety is the token itself.
    for fate, share in {"mask": 0.8, "other": 0.1 * 89 / 90, "same": 0.1 + 0.1 / 90}.items():
        error = np.sqrt(share * (1 - share) / total)
        assert fates[fate] / total == pytest.approx(share, abs=4 * error)
    # Every place alike.
    assert len(places) == 200
    assert max(places.values()) < 2 * min(places.values()) + 40


def test_a_short_pair_has_one_hidden_token() -> None:
    example = masked_example(Pair(0, [10], [11], True), VOCABULARY, random())
    (place,) = example.masked
    assert list(example.answers) == [{1: 10, 3: 11}[place]]


def test_whole_words_are_hidden_with_all_their_pieces() -> None:
    """Words of one to three pieces; the second half begins with one that looks like the rest of a
    word."""
    draw = random(4)
    tokens = [t for _ in range(60) for t in [12, 80, 81][: draw.integers(1, 4)]]
    given = Pair(0, tokens, [90, *tokens], True)
    whole = [CLS, *given.first, SEP, *given.second, SEP]
    inside = 0
    for seed in range(50):
        example = masked_example(given, VOCABULARY, random(seed), whole_words=True)
        hidden = set(example.masked)
        assert 0 < len(hidden) <= round(0.15 * (len(whole) - 3))
        for place in range(2, len(whole) - 1):
            if whole[place] in PIECES and whole[place - 1] != SEP:
                assert (place in hidden) == (place - 1 in hidden)
                inside += place in hidden
    assert inside > 100


def test_a_word_of_many_pieces_may_be_the_only_one() -> None:
    given = Pair(0, [12, *[80] * 9], [13, *[81] * 9], True)
    example = masked_example(given, VOCABULARY, random(), whole_words=True)
    assert len(example.masked) == 10
