"""The tokenizer as a value: specials kept, the overflow counted, the same after a pickle."""

from __future__ import annotations

import pickle

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from readmit_spark.core.tokenizer import ChunkTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "heart", "failure", "##s", "of", "."]


@pytest.fixture
def tokenizer() -> ChunkTokenizer:
    raw = Tokenizer(models.WordPiece({t: i for i, t in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return ChunkTokenizer(raw.to_str(), max_tokens=6)


def test_specials_are_around_the_words(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.encode(["heart failures"])[0].input_ids == [2, 4, 5, 6, 3]


def test_what_does_not_fit_is_cut_before_the_last_special_and_counted(
    tokenizer: ChunkTokenizer,
) -> None:
    encoded = tokenizer.encode(["heart failures of heart ."])[0]
    assert encoded.input_ids == [2, 4, 5, 6, 7, 3]
    assert encoded.n_cut == 2


def test_the_budget_leaves_room_for_the_specials(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.budget == 4


def test_counts_are_without_specials(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.count(["heart failures", ""]) == [3, 0]


def test_travels_by_pickle_and_keeps_its_fingerprint(tokenizer: ChunkTokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(["heart of"]) == tokenizer.encode(["heart of"])
    assert copy.fingerprint == tokenizer.fingerprint
    other = ChunkTokenizer(tokenizer.definition.replace("failure", "attack"), 6)
    assert other.fingerprint != tokenizer.fingerprint
