"""The readmission classifier: a BERT-like encoder with one logit (docs/method.md, section 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError

LABEL = "readmission"


def read_settings(folder: str) -> Any:
    """Read config.json of a model folder or hub id as a transformers PretrainedConfig.

    Raise a UserError if it is missing or cannot be read.
    """
    from transformers import AutoConfig

    if Path(folder).is_dir() and not (Path(folder) / "config.json").exists():
        raise UserError(f"model.path: {folder} has no config.json: it is no Hugging Face folder")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"model.path: {folder} cannot be loaded: {reason}") from None


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
    """Load the model with one logit and binary cross-entropy as its loss.

    An encoder without a classification head gets a new one. Raise a UserError if the folder cannot
    be read or has a head with more logits.
    """
    from transformers import AutoModelForSequenceClassification

    settings = read_settings(folder)
    if is_classifier(settings):
        check_one_logit(settings, folder)
    return AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=1,
        problem_type="multi_label_classification",  # BCE with logits, on any BERT-like model
        id2label={0: LABEL},
        label2id={LABEL: 0},
    )
