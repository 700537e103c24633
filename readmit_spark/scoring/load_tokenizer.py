"""Load the tokenizer of a model, and check that the two belong together."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.classifier import read_settings


def load_tokenizer(folder: str, max_tokens: int, settings: Any = None) -> ChunkTokenizer:
    """Load the tokenizer of a model folder or hub id, for chunks of at most `max_tokens` tokens.

    settings: the model's settings, if they were read before. UserError if there is no tokenizer, if
    its vocabulary size does not fit the model, or if the model accepts fewer than `max_tokens`.
    """
    from transformers import AutoTokenizer

    local = Path(folder)
    if local.is_dir() and not any((local / f).exists() for f in _FILES):
        raise UserError(f"model.path: {folder} has no tokenizer ({', '.join(_FILES)})")
    try:
        config = settings or read_settings(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"model.path: {folder} cannot be loaded: {reason}") from None
    if not tokenizer.is_fast:
        raise UserError(f"model.path: {folder} has no fast tokenizer (tokenizer.json)")
    # Some models round the size of their embeddings up, by a few entries but not by thousands.
    if not 0 <= config.vocab_size - len(tokenizer) < _ROUNDED_UP:
        raise UserError(
            f"model.path: {folder} has a tokenizer of {len(tokenizer):,} entries but a model of "
            f"{config.vocab_size:,}: they do not belong together"
        )
    limit = position_limit(config)
    if limit is not None and max_tokens > limit:
        raise UserError(f"model.max_tokens is {max_tokens}: {folder} accepts at most {limit}")
    return ChunkTokenizer(_definition(tokenizer), max_tokens)


def position_limit(config: Any) -> int | None:
    """Return how many tokens a model accepts; None if its configuration has no limit.

    RoBERTa counts positions from padding_idx + 1, so it never uses two of its positions.
    """
    limit = getattr(config, "max_position_embeddings", None)
    offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer") else 0
    return limit - offset if limit else None


def package_folder(name: str) -> str:
    """Return the model folder inside a Python package (`model.path=package:NAME`)."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path: the package {name} is not installed (pip install readmit-spark[demo])"
        )
    root = Path(spec.submodule_search_locations[0])
    for config in sorted(root.rglob("config.json")):
        if "model_type" in json.loads(config.read_text()):
            return str(config.parent)
    raise UserError(f"model.path: the package {name} contains no Hugging Face model folder")


_ROUNDED_UP = 256
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


def _definition(tokenizer: Any) -> str:
    backend = tokenizer.backend_tokenizer
    # Sentence models save a maximal length in the tokenizer (MiniLM: 128); max_tokens replaces it.
    backend.no_truncation()
    backend.no_padding()
    return str(backend.to_str())
