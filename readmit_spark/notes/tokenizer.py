"""The tokenizer as a value: read once on the driver, carried to the workers as its own JSON."""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from readmit_spark.errors import UserError

_RULES = ("normalizer", "pre_tokenizer")
_MEMORY = 200_000  # distinct words remembered a process; beyond it the memory starts afresh


@dataclass(frozen=True)
class Encoded:
    """A chunk as token ids, specials included; `n_cut` tokens did not fit."""

    input_ids: list[int]
    n_cut: int


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know. words: ids that may stand in for a token. pieces: [vocabulary], True
    of an entry that continues a word."""

    cls: int
    sep: int
    mask: int
    words: NDArray[np.int64]
    pieces: NDArray[np.bool_]


@dataclass(frozen=True)
class ChunkTokenizer:
    """Encodes chunks to at most `max_tokens` ids. Picklable; builds the real one once a process."""

    definition: str
    max_tokens: int

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that two tokenizers share only when they are the same."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:16]

    @property
    def budget(self) -> int:
        """Tokens a chunk can hold beside the specials."""
        prefix, suffix = _specials(self.definition)
        return self.max_tokens - len(prefix) - len(suffix)

    @property
    def unknown_id(self) -> int | None:
        """The id of a word that the vocabulary has no pieces for; None where there is none such."""
        return _unknown(self.definition)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Ids with the model's specials ([CLS] … [SEP] for BERT), cut to the budget."""
        prefix, suffix = _specials(self.definition)
        budget = self.budget
        return [
            Encoded(prefix + ids[:budget] + suffix, max(0, len(ids) - budget))
            for ids in self.pieces(texts)
        ]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """All ids of each text, without specials and uncut."""
        tokenizer = _build(self.definition)
        if not _words_stand_alone(self.definition):
            encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [list(e.ids) for e in encoded]
        # A tokenizer of BERT's kind takes most of the time of `prepare`: each word meets it once.
        known = _known(self.definition)
        words = [text.split(" ") for text in texts]
        if len(known) > _MEMORY:
            known.clear()
        new = list({word for each in words for word in each}.difference(known))
        encoded = tokenizer.encode_batch_fast(new, add_special_tokens=False)
        known.update(zip(new, (tuple(e.ids) for e in encoded), strict=True))
        return [[i for word in each for i in known[word]] for each in words]

    def vocabulary(self) -> Vocabulary:
        """What pretraining's masks are made with. UserError where the tokenizer is not BERT's."""
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
        """For each of `encode`'s ids the number of the word that it is a piece of, counted from 0;
        -1 of the specials. Words are what white space separates."""
        starts = [match.start() for match in re.finditer(r"\S+", text)]
        encoded = _build(self.definition).encode(text, add_special_tokens=False)
        prefix, suffix = _specials(self.definition)
        # By a token's end: tokenizers of bytes count the blank before a word as part of it.
        body = [
            bisect_right(starts, max(begin, end - 1)) - 1
            for begin, end in encoded.offsets[: self.budget]
        ]
        return [-1] * len(prefix) + body + [-1] * len(suffix)

    def tokens(self, input_ids: Sequence[int]) -> list[str]:
        """The word pieces as the vocabulary spells them: `##` marks one inside a word."""
        tokenizer = _build(self.definition)
        return [tokenizer.id_to_token(i) or "" for i in input_ids]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The most tokens that each text can be in a chunk, without specials.

        To tokenizers of bytes (RoBERTa's, ModernBERT's) the blank before a word is part of it, so
        a text is not the same tokens at the beginning of a chunk and behind another text.
        """
        first = [len(ids) for ids in self.pieces(texts)]
        if not _blanks_matter(self.definition):
            return first
        behind = [len(ids) for ids in self.pieces([f" {text}" for text in texts])]
        return list(map(max, first, behind))


@lru_cache(maxsize=4)
def _build(definition: str) -> Tokenizer:
    return Tokenizer.from_str(definition)


@lru_cache(maxsize=4)
def _words_stand_alone(definition: str) -> bool:
    """Whether what a blank separates is encoded the same wherever it stands: BERT's rules look at
    single characters, and split at every blank."""
    made = json.loads(definition)
    (normalizer, splitter) = ((made[part] or {}).get("type") for part in _RULES)
    return (
        splitter == "BertPreTokenizer"
        and normalizer in (None, "BertNormalizer")
        and not any(
            " " in token["content"] or token["lstrip"] or token["rstrip"] or token["single_word"]
            for token in made["added_tokens"]
        )
    )


@lru_cache(maxsize=4)
def _known(definition: str) -> dict[str, tuple[int, ...]]:
    """The ids of the words that this process has met."""
    return {}


@lru_cache(maxsize=4)
def _blanks_matter(definition: str) -> bool:
    tokenizer = _build(definition)
    alone, behind = (tokenizer.encode(t, add_special_tokens=False).ids for t in ("a", " a"))
    return bool(alone != behind)


@lru_cache(maxsize=4)
def _specials(definition: str) -> tuple[list[int], list[int]]:
    encoded = _build(definition).encode("a")
    body = [i for i, special in enumerate(encoded.special_tokens_mask) if not special]
    return encoded.ids[: body[0]], encoded.ids[body[-1] + 1 :]


@lru_cache(maxsize=4)
def _unknown(definition: str) -> int | None:
    name = json.loads(definition)["model"].get("unk_token")
    return _build(definition).token_to_id(name) if name else None
