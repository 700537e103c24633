"""The rules by which texts become chunks, from the configuration of a run or its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

_EARLIER_NAMES = {"tokens": "segments"}  # of modes, in manifests of earlier versions


@dataclass(frozen=True)
class Cleaning:
    """How a text is cleaned.

    published: by the published expressions, with their defects. keep_decimals: whether numbers keep
    their decimals; as published, they lose what is before the point.
    """

    published: bool
    keep_decimals: bool


# Of the profiles.
PUBLISHED = Cleaning(published=True, keep_decimals=False)
DEFAULT = Cleaning(published=False, keep_decimals=True)


@dataclass(frozen=True)
class TextRules:
    """How a document becomes chunks: `clean.*` and `chunk.*`, without nulls and keys that have no
    effect.

    mode: segments or words. words: words per chunk; None where segments decide. min_tail_words: a
    document, and in words mode a last chunk, of this many words or fewer is no chunk.
    """

    cleaning: Cleaning
    mode: Literal["segments", "words"]
    words: int | None
    min_tail_words: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the rules of a configuration, from `config.to_dict` or a manifest.

        A manifest of an earlier version lacks `clean`: its texts were cleaned as published.
        """
        of_profile, cleaning = "segments", DEFAULT
        if values["profile"] == "paper":
            of_profile, cleaning = "words", PUBLISHED
        clean, chunk = values.get("clean"), values["chunk"]
        if not clean:
            cleaning = PUBLISHED
        elif clean["keep_decimals"] is not None:
            cleaning = replace(cleaning, keep_decimals=clean["keep_decimals"])
        mode: Any = _EARLIER_NAMES.get(chunk["mode"], chunk["mode"]) or of_profile
        words = chunk["words"] if mode == "words" else None
        return cls(cleaning, mode, words, chunk["min_tail_words"])

    def title(self, max_tokens: int) -> str:
        """Return the rules in words.

        >>> TextRules(PUBLISHED, "words", 318, 10).title(512)
        'chunks of 318 words, at most 512 tokens, cleaned as published'
        """
        unit = "whole segments" if self.words is None else f"{self.words} words"
        chunks = f"chunks of {unit}, at most {max_tokens} tokens"
        if self.cleaning == PUBLISHED:
            return f"{chunks}, cleaned as published"
        return f"{chunks}, {'with' if self.cleaning.keep_decimals else 'without'} decimals"

    def settings(self) -> dict[str, Any]:
        """Return the keys of the configuration that give these rules.

        >>> TextRules(DEFAULT, "segments", None, 10).settings()
        ... # doctest: +NORMALIZE_WHITESPACE
        {'profile': 'default', 'clean.keep_decimals': True, 'chunk.mode': 'segments',
         'chunk.min_tail_words': 10}
        """
        chunk = {key: value for key, value in self.chunk().items() if value is not None}
        return {
            "profile": "paper" if self.cleaning.published else "default",
            "clean.keep_decimals": self.cleaning.keep_decimals,
            **{f"chunk.{key}": value for key, value in chunk.items()},
        }

    def chunk(self) -> dict[str, Any]:
        """Return the rules of chunks alone."""
        return {key: value for key, value in asdict(self).items() if key != "cleaning"}
