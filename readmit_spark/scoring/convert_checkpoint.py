"""Convert a checkpoint of pytorch_pretrained_bert to a Hugging Face folder.

Such a checkpoint has `bert_config.json`, `pytorch_model.bin` and sometimes `vocab.txt`; the
published ClinicalBERT is one. The weights file is a pickle, and no code in it is run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertModel
from transformers.activations import ACT2FN

from readmit_spark.errors import UserError
from readmit_spark.scoring.classifier import LABEL
from readmit_spark.scoring.load_tokenizer import read_tokenizer
from readmit_spark.scoring.weight_files import check_numbers, read_file

CONFIG, WEIGHTS, VOCABULARY = "bert_config.json", "pytorch_model.bin", "vocab.txt"

# Required and optional keys of bert_config.json; all others are ignored.
_SHAPE = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
_OPTIONS = (
    "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range",
)  # fmt: skip
_PRETRAINING = "cls."  # prefix of the heads for masked words and next sentences
_RENAMED = ((".gamma", ".weight"), (".beta", ".bias"))


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    has_head: whether it is a readmission classifier; otherwise it is an encoder to fine-tune.
    tensors: number of converted weights. left_out: names of weights that readmission does not use.
    """

    has_head: bool
    tensors: int
    left_out: Sequence[str]


def convert(source: str, target: str, tokenizer: Callable[[], str]) -> Converted:
    """Convert `source`; write safetensors, config.json and tokenizer to the folder `target`.

    tokenizer: returns a folder with a tokenizer; called only if `source` has no vocab.txt. The
    written weights are read back and compared bit by bit. UserError if `source` is not such a
    checkpoint, is truncated, contains code, or does not fit its own configuration.
    """
    folder = Path(source)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{source} has no {name}: not a pytorch_pretrained_bert checkpoint")
    config = _read_config(folder / CONFIG)
    weights, left_out = _rename(read_file(folder / WEIGHTS))
    has_head = "classifier.weight" in weights
    model = _build_model(config, weights, has_head, folder / WEIGHTS)
    model.save_pretrained(target)
    _check_written(type(model), target, model.state_dict())
    _write_tokenizer(folder, Path(target), tokenizer, config.vocab_size)
    return Converted(has_head, len(weights), left_out)


def _read_config(path: Path) -> BertConfig:
    try:
        values = json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is not JSON: it is damaged or truncated") from None
    values = values if isinstance(values, dict) else {}
    missing = [k for k in _SHAPE if type(values.get(k)) is not int or values[k] < 1]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: whole numbers above 0 needed")
    if values["hidden_size"] % values["num_attention_heads"]:
        raise UserError(f"{path}: hidden_size is not a multiple of num_attention_heads")
    if values.get("hidden_act", "gelu") not in list(ACT2FN):
        raise UserError(f"{path}: hidden_act is not an activation of transformers")
    head: dict[str, Any] = {
        "num_labels": 1,
        "problem_type": "multi_label_classification",
        "id2label": {0: LABEL},
        "label2id": {LABEL: 0},
    }
    return BertConfig(**{k: values[k] for k in (*_SHAPE, *_OPTIONS) if k in values}, **head)


def _rename(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights under transformers' names, and the names left out."""
    weights, left_out = {}, []
    for name, tensor in stored.items():
        name = name.removeprefix("module.")  # added by training on several GPUs
        for old, new in _RENAMED:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        if name.startswith(_PRETRAINING) or name.endswith("position_ids"):
            left_out.append(name)
            continue
        if not name.startswith(("bert.", "classifier.")):
            name = f"bert.{name}"  # an encoder saved without a head
        weights[name] = tensor
    return weights, left_out


def _build_model(config: BertConfig, weights: dict[str, Tensor], has_head: bool, path: Path) -> Any:
    model: Any = BertForSequenceClassification(config) if has_head else BertModel(config)
    prefix = "" if has_head else "bert."
    expected = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    missing, unknown = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    for verb, names in (("lacks", missing), ("has unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{path} {verb} weights: {min(names)}{more}; {CONFIG} may belong to another model"
            )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise UserError(
                f"{path}: {name} has shape {list(tensor.shape)}, but {CONFIG} requires "
                f"{list(expected[name].shape)}"
            )
    check_numbers(weights, str(path))
    model.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items()})
    return model.eval()


def _check_written(kind: Any, target: str, expected: Mapping[str, Tensor]) -> None:
    written = kind.from_pretrained(target).state_dict()
    wrong = [n for n in expected if n not in written or not torch.equal(written[n], expected[n])]
    if wrong:
        raise RuntimeError(f"{len(wrong)} weights changed when they were written: {wrong[0]} ...")


def _write_tokenizer(source: Path, target: Path, other: Callable[[], str], size: int) -> None:
    """Write the tokenizer of vocab.txt, or else that in the folder that other() returns."""
    vocabulary = source / VOCABULARY
    if vocabulary.exists():
        try:
            words = vocabulary.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{vocabulary} is not UTF-8: it is damaged") from None
        shutil.copy(vocabulary, target)
        tokenizer = read_tokenizer(str(target))
        # transformers may silently ignore a vocabulary; the tokenizer then has five tokens.
        if tokenizer.get_vocab() != {word: i for i, word in enumerate(words)}:
            raise UserError(f"{vocabulary} is not a WordPiece vocabulary, one token in each line")
        origin = str(vocabulary)
    else:
        tokenizer = read_tokenizer(other())
        origin = f"{source} has no {VOCABULARY}, and the tokenizer of model.path"
    if len(tokenizer) != size:
        raise UserError(
            f"{origin} has {len(tokenizer):,} entries, but the checkpoint {size:,}: "
            f"add its own {VOCABULARY}, or set model.path to a model with the same vocabulary"
        )
    tokenizer.save_pretrained(str(target))
