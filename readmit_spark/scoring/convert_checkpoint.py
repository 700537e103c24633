"""Weights as pytorch_pretrained_bert saved them, made into a Hugging Face folder.

Such a folder holds `bert_config.json`, `pytorch_model.bin` and sometimes `vocab.txt` (method: the
published ClinicalBERT). Nothing in it is run: weights are read as weights, or not at all.
"""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel
from transformers.activations import ACT2FN

from readmit_spark.errors import UserError
from readmit_spark.scoring.classifier import LABEL

CONFIG, WEIGHTS, VOCABULARY = "bert_config.json", "pytorch_model.bin", "vocab.txt"

# What bert_config.json has to say; all else in it is of other programs.
_SHAPE = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size",
)  # fmt: skip
_OPTIONS = (
    "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range",
)  # fmt: skip
# What torch.load says of a file that breaks off or holds a wrong byte.
_DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, OSError,
    struct.error,
)  # fmt: skip
_PRETRAINING = "cls."  # heads for masked words and next sentences
_RENAMED = ((".gamma", ".weight"), (".beta", ".bias"))


@dataclass(frozen=True)
class Imported:
    """has_head: a readmission classifier, else an encoder to fine-tune. tensors: how many were
    taken. left_out: names of those that readmission has no use for."""

    has_head: bool
    tensors: int
    left_out: Sequence[str]


def convert(source: str, target: str, tokenizer: Callable[[], str]) -> Imported:
    """Writes `source` as safetensors, config.json and tokenizer into the folder `target`.

    tokenizer: the folder to take the tokenizer of, asked where `source` has no vocab.txt. Every
    tensor is read back and compared, bit by bit. UserError, one line, for a folder that is not
    such a checkpoint, that is cut short, holds more than weights, or does not fit its own config.
    """
    folder = Path(source)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{source} has no {name}: it is no pytorch_pretrained_bert checkpoint")
    config = _read_config(folder / CONFIG)
    weights, left_out = _named(_read_weights(folder / WEIGHTS))
    has_head = "classifier.weight" in weights
    model = _filled(config, weights, has_head, folder / WEIGHTS)
    model.save_pretrained(target)
    _check(type(model), target, model.state_dict())
    _write_tokenizer(folder, Path(target), tokenizer, config.vocab_size)
    return Imported(has_head, len(weights), left_out)


def _read_config(path: Path) -> BertConfig:
    try:
        values = json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is not JSON: it is damaged or cut short") from None
    found = values if isinstance(values, dict) else {}
    missing = [k for k in _SHAPE if type(found.get(k)) is not int or found[k] < 1]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}, as whole numbers above 0")
    if values["hidden_size"] % values["num_attention_heads"]:
        raise UserError(f"{path}: hidden_size is no multiple of num_attention_heads")
    if values.get("hidden_act", "gelu") not in list(ACT2FN):
        raise UserError(f"{path}: hidden_act is no activation that transformers knows")
    head: dict[str, Any] = {
        "num_labels": 1,
        "problem_type": "multi_label_classification",
        "id2label": {0: LABEL},
        "label2id": {LABEL: 0},
    }
    return BertConfig(**{k: values[k] for k in (*_SHAPE, *_OPTIONS) if k in values}, **head)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Without the rest of the message, which tells people how to run the file all the same.
        if "Unsupported" in str(error) or "weights only" in str(error).lower():
            reason = "holds more than weights, or is no file of torch.save; nothing in it was run"
        else:
            reason = "is no file of torch.save, or is damaged"
        raise UserError(f"{path} {reason}") from None
    except _DAMAGED:
        raise UserError(f"{path} is damaged or cut short: fetch it again") from None
    if not isinstance(found, Mapping) or not all(torch.is_tensor(t) for t in found.values()):
        raise UserError(f"{path} holds no table of weights by name (a state_dict)")
    return dict(found)


def _named(found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under transformers' names, in 32 bits; and what is left out."""
    weights, left_out = {}, []
    for name, tensor in found.items():
        name = name.removeprefix("module.")  # of a model that was trained on several GPUs
        for old, new in _RENAMED:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        if name.startswith(_PRETRAINING) or name.endswith("position_ids"):
            left_out.append(name)
            continue
        if not name.startswith(("bert.", "classifier.")):
            name = f"bert.{name}"  # an encoder saved by itself
        weights[name] = tensor.float()
    return weights, left_out


def _filled(config: BertConfig, weights: dict[str, Tensor], has_head: bool, path: Path) -> Any:
    model: Any = BertForSequenceClassification(config) if has_head else BertModel(config)
    prefix = "" if has_head else "bert."
    wanted = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    lacking, unknown = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    for what, names in (("lacks", lacking), ("has unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{path} {what} weights: {min(names)}{more}; {CONFIG} may be another's")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise UserError(
                f"{path}: {name} is {list(tensor.shape)}, and {CONFIG} makes it "
                f"{list(wanted[name].shape)}"
            )
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds a number that is not finite: it is damaged")
    model.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items()})
    return model.eval()


def _check(kind: Any, target: str, expected: Mapping[str, Tensor]) -> None:
    found = kind.from_pretrained(target).state_dict()
    wrong = [n for n in expected if n not in found or not torch.equal(found[n], expected[n])]
    if wrong:
        raise RuntimeError(f"{len(wrong)} weights are not what they were, such as {wrong[0]}")


def _write_tokenizer(source: Path, target: Path, other: Callable[[], str], size: int) -> None:
    vocabulary = source / VOCABULARY
    if vocabulary.exists():
        try:
            words = vocabulary.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{vocabulary} is not UTF-8: it is damaged") from None
        shutil.copy(vocabulary, target)
        tokenizer = AutoTokenizer.from_pretrained(str(target))
        # transformers may ignore a vocabulary without a word, and then knows five tokens.
        if tokenizer.get_vocab() != {word: i for i, word in enumerate(words)}:
            raise UserError(f"{vocabulary} is not a WordPiece vocabulary, a token a line")
        origin = str(vocabulary)
    else:
        tokenizer = AutoTokenizer.from_pretrained(other())
        origin = f"{source} has no {VOCABULARY}, and the tokenizer of model.path"
    if len(tokenizer) != size:
        raise UserError(
            f"{origin} has {len(tokenizer):,} entries, but the checkpoint {size:,}: "
            f"put its own {VOCABULARY} beside it, or set model.path to a model with its vocabulary"
        )
    tokenizer.save_pretrained(str(target))
