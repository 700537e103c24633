"""The readmission classifier: a BERT-like encoder with one logit (docs/method.md, section 7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError, reason

LABEL = "readmission"


def read_settings(folder: str, **changes: Any) -> Any:
    """Read config.json of a model folder as a transformers PretrainedConfig, with some values
    changed.

    No code in the folder is run. Raise a UserError if it is missing, cannot be read, or asks for
    more than plain weights.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    config = Path(folder, "config.json")
    if not config.is_file():
        raise UserError(f"model.path: {folder} has no config.json: it is no Hugging Face folder")
    if Path(folder, "adapter_config.json").exists():
        raise UserError(f"model.path: {folder} has an adapter (adapter_config.json): merge it "
                        "into the weights first")  # fmt: skip
    values = _json_object(config)
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UserError(
            f"model.path: {config} names no model_type that transformers has; code in a model "
            "folder is never run"
        )
    if values.get("quantization_config"):
        raise UserError(
            f"model.path: {folder} is quantised; weights in fp32, bf16 or fp16 are needed"
        )
    try:
        return AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, **changes
        )
    except Exception as error:  # whatever it is, it comes from config.json
        raise UserError(f"model.path: {folder} cannot be loaded: {reason(error)}") from None


def is_model_config(path: Path) -> bool:
    """Return whether a file is the config.json of a transformers model."""
    try:
        return "model_type" in _json_object(path)
    except UserError:
        return False


def _json_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UserError(f"model.path: {path} is not JSON: it is damaged or truncated") from None
    if not isinstance(values, dict) or not values:
        raise UserError(f"model.path: {path} is empty, or no JSON object")
    return values


def is_classifier(settings: Any) -> bool:
    """Return whether the model is a sequence classifier, of readmission or anything else."""
    architectures = settings.architectures or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def check_one_logit(settings: Any, folder: str) -> None:
    """Raise a UserError unless the model in `folder` is a classifier with one logit."""
    if not is_classifier(settings):
        raise UserError(
            f"model.path: {folder} has no classification head; fine-tune it with jobs/finetune.py"
        )
    if settings.num_labels != 1:
        raise UserError(
            f"model.path: {folder} has {settings.num_labels} labels; a readmission model has one "
            "logit (num_labels=1)"
        )


def load_for_training(folder: str) -> Any:
    """Load the model in fp32, with one logit and binary cross-entropy as its loss.

    An encoder without a classification head gets a new one. Raise a UserError if the folder cannot
    be read whole or has a head with more logits.
    """
    from transformers import AutoModelForSequenceClassification

    from readmit_spark.scoring.whole_model import load_whole

    settings = read_settings(folder)
    has_head = is_classifier(settings)
    if has_head:
        check_one_logit(settings, folder)
    one_logit = read_settings(
        folder,
        num_labels=1,
        problem_type="multi_label_classification",  # BCE with logits, on any BERT-like model
        id2label={0: LABEL},
        label2id={LABEL: 0},
    )
    return load_whole(
        AutoModelForSequenceClassification, folder, one_logit, other_head=not has_head
    )
