"""The rules by which texts become chunks, from the configuration of a run or its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

_EARLIER_NAMES = {"tokens": "segments"}  # of modes, in manifests of earlier versions


@dataclass(frozen=True)
class TextRules:
    """How a document is cut into chunks: `chunk.*`, without nulls and keys that have no effect.

    mode: segments or words. words: words per chunk; None where segments decide. min_tail_words: a
    document, and in words mode a last chunk, of this many words or fewer is no chunk.
    """

    mode: Literal["segments", "words"]
    words: int | None
    min_tail_words: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the rules of a configuration, from `config.to_dict` or a manifest.

        >>> TextRules.of({"profile": "default",
        ...               "chunk": {"mode": None, "words": 318, "min_tail_words": 10}})
        TextRules(mode='segments', words=None, min_tail_words=10)
        """
        chunk = values["chunk"]
        of_profile = "words" if values["profile"] == "paper" else "segments"
        mode: Any = _EARLIER_NAMES.get(chunk["mode"], chunk["mode"]) or of_profile
        words = chunk["words"] if mode == "words" else None
        return cls(mode, words, chunk["min_tail_words"])

    def title(self, max_tokens: int) -> str:
        """Return the rules in words.

        >>> TextRules("words", 318, 10).title(512)
        'chunks of 318 words, at most 512 tokens'
        """
        unit = "whole segments" if self.words is None else f"{self.words} words"
        return f"chunks of {unit}, at most {max_tokens} tokens"

    def settings(self) -> dict[str, Any]:
        """Return the keys of the configuration that give these rules.

        >>> TextRules("segments", None, 10).settings()
        {'chunk.mode': 'segments', 'chunk.min_tail_words': 10}
        """
        return {f"chunk.{key}": value for key, value in asdict(self).items() if value is not None}
