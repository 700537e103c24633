"""The model's tokenizer as a picklable value: read on the driver, sent to the workers as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from readmit_spark.errors import UserError

_CACHE_SIZE = 200_000  # distinct words cached in a process; a full cache is emptied


@dataclass(frozen=True)
class Encoded:
    """A chunk as token ids, with special tokens. n_cut: the number of tokens that did not fit."""

    input_ids: list[int]
    n_cut: int


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that masking needs.

    words: ids that may replace a token. pieces: [vocabulary], True for an entry that continues a
    word (`##`).
    """

    cls: int
    sep: int
    mask: int
    words: NDArray[np.int64]
    pieces: NDArray[np.bool_]


@dataclass(frozen=True)
class ChunkTokenizer:
    """Encodes chunks as at most `max_tokens` ids.

    definition: the JSON of a Hugging Face tokenizer. Each process builds the tokenizer once.
    """

    definition: str
    max_tokens: int

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the definition: 16 hexadecimal digits."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:16]

    @property
    def budget(self) -> int:
        """The number of tokens that fit in a chunk beside the special tokens."""
        prefix, suffix = _specials(self.definition)
        return self.max_tokens - len(prefix) - len(suffix)

    @property
    def unknown_id(self) -> int | None:
        """The id for words that the vocabulary cannot spell; None if there is no such id."""
        return _unknown(self.definition)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode each text with special tokens ([CLS] … [SEP] for BERT), cut to `max_tokens`."""
        prefix, suffix = _specials(self.definition)
        budget = self.budget
        return [
            Encoded(prefix + ids[:budget] + suffix, max(0, len(ids) - budget))
            for ids in self.pieces(texts)
        ]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Return all ids of each text, without special tokens and uncut."""
        if not _words_are_independent(self.definition):
            encoded = _build(self.definition).encode_batch_fast(
                list(texts), add_special_tokens=False
            )
            return [list(e.ids) for e in encoded]
        ids = _word_ids(self.definition)
        return [list(chain.from_iterable(map(ids.__getitem__, text.split(" ")))) for text in texts]

    def vocabulary(self) -> Vocabulary:
        """Return the ids for masking. Raises UserError if this is not a BERT tokenizer."""
        tokenizer = _build(self.definition)
        names = ("[CLS]", "[SEP]", "[MASK]")
        cls, sep, mask = (tokenizer.token_to_id(name) for name in names)
        prefix, suffix = _specials(self.definition)
        if cls is None or sep is None or mask is None or (prefix, suffix) != ([cls], [sep]):
            raise UserError(
                "model.path: pretraining needs a BERT tokenizer, with [CLS], [SEP] and [MASK]"
            )
        entries = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        pieces = np.zeros(entries[-1][1] + 1, dtype=bool)
        pieces[[i for name, i in entries if name.startswith("##")]] = True
        words = [i for name, i in entries if not re.fullmatch(r"\[.*\]", name)]
        return Vocabulary(cls, sep, mask, np.array(words), pieces)

    def word_of(self, text: str) -> list[int]:
        """Return for each id of `encode` the index of its word in the text; -1 for special tokens.

        Words are separated by white space.
        """
        starts = [match.start() for match in re.finditer(r"\S+", text)]
        encoded = _build(self.definition).encode(text, add_special_tokens=False)
        prefix, suffix = _specials(self.definition)
        # The token's end decides: in byte tokenizers a token may begin with the space before.
        body = [
            bisect_right(starts, max(begin, end - 1)) - 1
            for begin, end in encoded.offsets[: self.budget]
        ]
        return [-1] * len(prefix) + body + [-1] * len(suffix)

    def tokens(self, input_ids: Sequence[int]) -> list[str]:
        """Return the tokens as the vocabulary spells them; `##` marks a token inside a word."""
        tokenizer = _build(self.definition)
        return [tokenizer.id_to_token(i) or "" for i in input_ids]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the largest number of tokens of each text in a chunk, without special tokens.

        In byte tokenizers (RoBERTa, ModernBERT) the space before a word is part of its token, so a
        text can have other tokens at the beginning of a chunk than after another text.
        """
        if _words_are_independent(self.definition):
            ids = _word_ids(self.definition)
            return [sum(map(len, map(ids.__getitem__, text.split(" ")))) for text in texts]
        at_start = [len(ids) for ids in self.pieces(texts)]
        if not _spaces_matter(self.definition):
            return at_start
        after_space = [len(ids) for ids in self.pieces([f" {text}" for text in texts])]
        return list(map(max, at_start, after_space))


@lru_cache(maxsize=4)
def _build(definition: str) -> Tokenizer:
    return Tokenizer.from_str(definition)


@lru_cache(maxsize=4)
def _words_are_independent(definition: str) -> bool:
    """Return whether each word between spaces has the same ids in every text.

    This holds for BERT's rules: they look at single characters and split at every space.
    """
    parsed = json.loads(definition)
    normalizer, pre_tokenizer = (
        (parsed[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer")
    )
    return (
        pre_tokenizer == "BertPreTokenizer"
        and normalizer in (None, "BertNormalizer")
        and not any(
            " " in token["content"] or token["lstrip"] or token["rstrip"] or token["single_word"]
            for token in parsed["added_tokens"]
        )
    )


class _WordIds(dict[str, tuple[int, ...]]):
    """The cached ids of each word.

    Tokenizing takes most of the time of `prepare`, so each distinct word is encoded once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _CACHE_SIZE:
            self.clear()
        ids = tuple(self._tokenizer.encode(word, add_special_tokens=False).ids)
        self[word] = ids
        return ids


@lru_cache(maxsize=4)
def _word_ids(definition: str) -> _WordIds:
    """Return this process's cache of the tokenizer."""
    return _WordIds(_build(definition))


@lru_cache(maxsize=4)
def _spaces_matter(definition: str) -> bool:
    tokenizer = _build(definition)
    alone, after_space = (tokenizer.encode(t, add_special_tokens=False).ids for t in ("a", " a"))
    return bool(alone != after_space)


@lru_cache(maxsize=4)
def _specials(definition: str) -> tuple[list[int], list[int]]:
    """Return the special ids before and after a text."""
    encoded = _build(definition).encode("a")
    body = [i for i, special in enumerate(encoded.special_tokens_mask) if not special]
    return encoded.ids[: body[0]], encoded.ids[body[-1] + 1 :]


@lru_cache(maxsize=4)
def _unknown(definition: str) -> int | None:
    name = json.loads(definition)["model"].get("unk_token")
    return _build(definition).token_to_id(name) if name else None
