"""The tokenizer as a value: special tokens kept, cut tokens counted, equal after pickling."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis.strategies import lists, text
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from readmit_spark.notes import tokenizer as tokenizing
from readmit_spark.notes.clean import clean
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.text_rules import PUBLISHED
from tests.nasty_texts import NASTY_TEXTS

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "heart", "failure", "##s", "of", "."]


@pytest.fixture
def tokenizer() -> ChunkTokenizer:
    raw = Tokenizer(models.WordPiece({t: i for i, t in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return ChunkTokenizer(raw.to_str(), max_tokens=6)


def test_specials_are_around_the_words(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.encode(["heart failures"])[0].input_ids == [2, 4, 5, 6, 3]


def test_tokens_over_the_limit_are_cut_before_the_last_special_token_and_counted(
    tokenizer: ChunkTokenizer,
) -> None:
    encoded = tokenizer.encode(["heart failures of heart ."])[0]
    assert encoded.input_ids == [2, 4, 5, 6, 7, 3]
    assert encoded.n_cut == 2


def test_the_budget_leaves_room_for_the_specials(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.budget == 4


def test_counts_are_without_specials(tokenizer: ChunkTokenizer) -> None:
    assert tokenizer.count(["heart failures", ""]) == [3, 0]


def real(*, lowercase: bool = True, bytes_: bool = False, **added: bool) -> ChunkTokenizer:
    """Make a BERT tokenizer of single letters and a few longer pieces, or a byte tokenizer."""
    if bytes_:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return ChunkTokenizer(raw.to_str(), 64)
    letters = [chr(i) for i in range(33, 127)] + list("éß\u03c3\u03c2µ中")
    pieces = [*VOCABULARY, "a", *letters, *(f"##{letter}" for letter in letters), "##ab"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.add_special_tokens(["[CLS]", "[SEP]"])
    if added:
        raw.add_tokens([AddedToken("heart of", **added)])
    return ChunkTokenizer(raw.to_str(), 64)


KINDS = {
    "BERT": real(),
    "cased": real(lowercase=False),
    "bytes": real(bytes_=True),
    "two words in one": real(normalized=False),
}


# Letters that change length or shape with their case, marks, unusual spaces, invisible characters.
ALPHABET = "aAbé中\u03a3\u03c3ßİH.-[]CLSEP \u0301\n\t\x00\x1c\xa0\u200b\ud7ff"


@pytest.mark.parametrize("kind", KINDS)
@given(texts=lists(text(alphabet=ALPHABET), max_size=4))
def test_cached_words_have_the_ids_of_the_tokenizer(kind: str, texts: list[str]) -> None:
    raw = Tokenizer.from_str(KINDS[kind].definition)
    for batch in (texts, texts, ["heart of [SEP] heart", *texts]):
        expected = [raw.encode(one, add_special_tokens=False).ids for one in batch]
        assert KINDS[kind].pieces(batch) == expected


@pytest.mark.parametrize("name", dict(NASTY_TEXTS))
def test_nasty_texts_are_encoded_alike(name: str) -> None:
    nasty = dict(NASTY_TEXTS)[name].encode("utf-8", "replace").decode()  # as Spark stores it
    for kind in KINDS.values():
        raw = Tokenizer.from_str(kind.definition)
        for one in (nasty, clean(nasty, PUBLISHED)):
            assert kind.pieces([one]) == [raw.encode(one, add_special_tokens=False).ids]


def test_the_cache_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_CACHE_SIZE", 3)
    bert = real()
    cache = tokenizing._word_ids(bert.definition)
    cache.clear()  # other tests have filled it
    for word in "abcdefgh":
        assert bert.pieces([word, f"{word} a"])[0] == bert.pieces([word])[0]
        assert len(cache) <= 3


def test_a_pickled_copy_has_the_same_fingerprint(tokenizer: ChunkTokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(["heart of"]) == tokenizer.encode(["heart of"])
    assert copy.fingerprint == tokenizer.fingerprint
    other = ChunkTokenizer(tokenizer.definition.replace("failure", "attack"), 6)
    assert other.fingerprint != tokenizer.fingerprint
