"""The readmission classifier: a BERT-like encoder with one logit (docs/method.md, section 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError

LABEL = "readmission"


def read_settings(folder: str) -> Any:
    """config.json of a model folder, as a transformers PretrainedConfig. UserError where it is
    missing or cannot be read."""
    from transformers import AutoConfig

    if Path(folder).is_dir() and not (Path(folder) / "config.json").exists():
        raise UserError(f"model.path: {folder} has no config.json: it is no Hugging Face folder")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"model.path: {folder} cannot be loaded: {reason}") from None


def is_classifier(settings: Any) -> bool:
    """True where the settings are of a sequence classifier, of readmission or anything else."""
    architectures = settings.architectures or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def check_one_logit(settings: Any, folder: str) -> None:
    """UserError unless the settings, read from `folder`, are of a classifier with one logit."""
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
    """Load the encoder with one logit and binary cross-entropy; with a new head where it has
    none."""
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
