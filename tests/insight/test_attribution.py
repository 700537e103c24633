"""Words, their segments and places, and the deletion test, against simple slow versions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from readmit_spark.insight.attribution import (
    RANDOM_SETS,
    by_word,
    chunk_words,
    deletion_test,
    rollout,
)
from readmit_spark.notes.chunk import segment_chunks, word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.provenance import document
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.text_rules import DEFAULT
from tests.nasty_texts import NASTY_TEXTS

NOTES = [
    "Admission Date: [**2101-10-20**]\nSeen by Dr. Who. Reports chest pain, denies cough. "
    + "Sleeps and eats well with no trouble at all, walks the ward twice a day as he did at home. "
    * 3,
    "  HD 2. Current heart failure -- worse.\n1. Fluids  2. Labs " + "stable on room air " * 12,
]


def test_each_word_has_its_place_in_the_notes() -> None:
    chunks = word_chunks(clean(document(NOTES), DEFAULT), 20, 3)
    assert len(chunks) > 3
    for index, chunk in enumerate(chunks):
        words = chunk_words(NOTES, chunks, index, DEFAULT)
        assert [word.text for word in words] == chunk.split()
        for word in words:
            (place,) = word.places
            # One word of the note, as cleaned: "Dr." is "doctor".
            assert clean(NOTES[place.note][place.start : place.end], DEFAULT).split() == [word.text]


def test_each_word_has_its_segment() -> None:
    segments = segment(clean(document(NOTES), DEFAULT))
    owners = [number for number, text in enumerate(segments) for _ in text.split()]
    assert len(segments) > 3
    chunks = word_chunks(clean(document(NOTES), DEFAULT), 20, 0)
    segments = [
        w.segment for i in range(len(chunks)) for w in chunk_words(NOTES, chunks, i, DEFAULT)
    ]
    assert segments == owners


def test_a_word_cut_between_chunks_has_its_place(tokenizer: ChunkTokenizer) -> None:
    texts = ["pain " + "x" * 90 + " denies pain", "no pain. heart failure"]
    segments = segment(clean(document(texts), DEFAULT))
    chunks = segment_chunks(segments, tokenizer.count, 50, 2)
    words = [w for i in range(len(chunks)) for w in chunk_words(texts, chunks, i, DEFAULT)]
    assert any("xx" in word.text and len(word.text) < 90 for word in words)
    for word in words:
        (place,) = word.places
        assert texts[place.note][place.start : place.end] == word.text


@pytest.mark.parametrize("text", [text for _, text in NASTY_TEXTS], ids=[n for n, _ in NASTY_TEXTS])
def test_nasty_texts_keep_their_words(text: str) -> None:
    chunks = word_chunks(clean(text, DEFAULT), 5, 0)
    for index in range(len(chunks)):
        words = chunk_words([text], chunks, index, DEFAULT)
        assert [word.text for word in words] == chunks[index].split()
        assert all(word.places for word in words)


def test_tokens_belong_to_words(tokenizer: ChunkTokenizer) -> None:
    text = "pt. denies chest-pain; 3 mg é the heart"
    (encoded,) = tokenizer.encode([text])
    word_of = tokenizer.word_of(text)
    assert len(word_of) == len(encoded.input_ids)
    assert (word_of[0], word_of[-1]) == (-1, -1)
    for number, word in enumerate(text.split()):
        ids = [i for i, of in zip(encoded.input_ids, word_of, strict=True) if of == number]
        assert ids == tokenizer.encode([word])[0].input_ids[1:-1]
    short = ChunkTokenizer(tokenizer.definition, 6)
    assert short.word_of(text) == [-1, *word_of[1:5], -1]


def test_a_byte_token_belongs_to_the_word_after_its_space() -> None:
    """Byte tokenizers let the token ` heart` start at the space unless they trim offsets."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "h"), ("h", "e")]
    entries = [*letters, *("".join(pair) for pair in merges)]
    bytes_ = Tokenizer(models.BPE({entry: i for i, entry in enumerate(entries)}, merges))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert ChunkTokenizer(bytes_.to_str(), 64).word_of("ah  he h") == [0, 0, 0, 1, 1, 2]


def test_a_word_has_the_sum_of_its_tokens() -> None:
    sums = by_word([9.0, 1.0, 2.0, -4.0, 8.0], [-1, 0, 0, 2, -1], 4)
    assert sums.tolist() == [3.0, 0.0, -4.0, 0.0]


def linear(weights: NDArray[np.float64], word_of: list[int]) -> tuple[float, object]:
    """Return the logit of a model that sums over words, and its function of masks."""
    tokens = np.array([weights[of] / word_of.count(of) if of >= 0 else 0.5 for of in word_of])
    return float(tokens.sum()), lambda keep: np.array([tokens[mask].sum() for mask in keep])


def test_deletion_distinguishes_true_from_false_attributions() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=50)
    word_of = [-1, *sorted([*range(50), *range(0, 50, 3)]), -1]
    logit, without = linear(weights, word_of)
    true = deletion_test(weights, word_of, without, logit, 0.1, seed=1)  # type: ignore[arg-type]
    assert true is not None and true.removed == 5
    assert true.strongest == pytest.approx(np.sort(weights)[-5:].sum())
    assert true.beaten == 1.0 and true.random < true.strongest
    false = deletion_test(-weights, word_of, without, logit, 0.1, seed=1)  # type: ignore[arg-type]
    assert false is not None and false.beaten == 0.0
    assert false.strongest == pytest.approx(np.sort(weights)[:5].sum())


def test_deletion_never_removes_all_words_or_special_tokens() -> None:
    masks: list[NDArray[np.bool_]] = []

    def without(batch: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
        masks.extend(batch)
        return np.zeros(len(batch))

    deletion = deletion_test([1.0, 2.0, 0.0], [-1, 0, 1, -1], without, 1.0, 0.9, seed=0)
    assert deletion is not None and deletion.removed == 1
    assert len(masks) == 1 + RANDOM_SETS and all(mask[0] and mask[3] for mask in masks)
    assert masks[0].tolist() == [True, True, False, True]
    assert deletion_test([1.0], [-1, 0, -1], without, 1.0, 0.5, seed=0) is None


def test_rollout_is_the_product_of_layers_with_their_residuals() -> None:
    rng = np.random.default_rng(0)
    maps = rng.dirichlet(np.ones(6), size=(3, 4, 6))
    through = rollout(maps)
    assert through.sum(axis=1) == pytest.approx(np.ones(6))
    by_hand = np.eye(6)
    for layer in range(3):
        mixed = 0.5 * sum(maps[layer, head] for head in range(4)) / 4 + 0.5 * np.eye(6)
        by_hand = np.array(
            [
                [sum(mixed[i, k] * by_hand[k, j] for k in range(6)) for j in range(6)]
                for i in range(6)
            ]
        )
    assert through == pytest.approx(by_hand, abs=1e-12)
