"""The tokenizer as a value: read once on the driver, carried to the workers as its own JSON."""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from readmit_spark.core.pretraining import Vocabulary
from readmit_spark.errors import UserError


@dataclass(frozen=True)
class Encoded:
    """A chunk as token ids, specials included; `n_cut` tokens did not fit."""

    input_ids: list[int]
    n_cut: int


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
            Encoded(prefix + e.ids[:budget] + suffix, max(0, len(e.ids) - budget))
            for e in self._encode(texts)
        ]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """All ids of each text, without specials and uncut."""
        return [list(e.ids) for e in self._encode(texts)]

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
        (encoded,) = self._encode([text])
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
        first = [len(e.ids) for e in self._encode(texts)]
        if not _blanks_matter(self.definition):
            return first
        behind = [len(e.ids) for e in self._encode([f" {text}" for text in texts])]
        return list(map(max, first, behind))

    def _encode(self, texts: Sequence[str]) -> list[Any]:
        return _build(self.definition).encode_batch(list(texts), add_special_tokens=False)


@lru_cache(maxsize=4)
def _build(definition: str) -> Tokenizer:
    return Tokenizer.from_str(definition)


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
