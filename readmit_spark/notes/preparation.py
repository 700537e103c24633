"""How a document becomes chunks: by the rules of the configuration and the model's tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from readmit_spark.config import Config
from readmit_spark.notes.chunk import segment_chunks, word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.text_rules import PUBLISHED, TextRules


@dataclass(frozen=True)
class Preparation:
    """Everything that decides how a document becomes chunks.

    `text_udfs.chunks_of` does the same in Spark, with the same functions.
    """

    rules: TextRules
    tokenizer: ChunkTokenizer

    @classmethod
    def of(cls, config: Config, tokenizer: ChunkTokenizer) -> Preparation:
        """Return the preparation that the configuration asks for."""
        return cls(config.text_rules, tokenizer)

    @property
    def key(self) -> str:
        """16 hex digits of the rules and the tokenizer."""
        tokenizer = self.tokenizer
        cleaning = self.rules.cleaning
        # Published cleaning adds nothing, so that keys of earlier versions stay valid.
        more = [] if cleaning == PUBLISHED else [asdict(cleaning)]
        decisive = [self.rules.chunk(), tokenizer.fingerprint, tokenizer.max_tokens, *more]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    def clean(self, text: str | None) -> str:
        """Clean a text."""
        return clean(text, self.rules.cleaning)

    def cut_words(self, cleaned: str) -> list[str]:
        """Cut a cleaned text into chunks of a number of words, for the mode `words`."""
        assert self.rules.words is not None  # as TextRules.of says of this mode
        return word_chunks(cleaned, self.rules.words, self.rules.min_tail_words)

    def cut_segments(self, segments: Sequence[str]) -> list[str]:
        """Pack the segments of a cleaned text into chunks, for the mode `segments`."""
        tokenizer = self.tokenizer
        return segment_chunks(
            segments, tokenizer.count, tokenizer.budget, self.rules.min_tail_words
        )

    def cut(self, cleaned: str) -> list[str]:
        """Cut a cleaned text into chunks.

        Words mode needs no segments: their limits would change nothing.
        """
        if self.rules.mode == "words":
            return self.cut_words(cleaned)
        return self.cut_segments(segment(cleaned))
