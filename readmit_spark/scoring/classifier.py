"""The readmission classifier: a BERT-like encoder with one logit (docs/method.md, section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import pick
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.scoring.fitted import KEY, Learnt

LABEL = "readmission"


def has_head(folder: str) -> bool:
    """True where the folder's model is a classifier, trained for readmission or anything else."""
    architectures = _config(folder).architectures or []
    return any(name.endswith("ForSequenceClassification") for name in architectures)


def check_head(folder: str) -> None:
    """UserError unless the folder is a classifier with one logit."""
    config = _config(folder)
    if not has_head(folder):
        raise UserError(
            f"model.path: {folder} has no classification head; fine-tune it with jobs/finetune.py"
        )
    if config.num_labels != 1:
        raise UserError(
            f"model.path: {folder} has {config.num_labels} labels; a readmission model has one "
            "logit (num_labels=1)"
        )


def load_for_training(folder: str) -> Any:
    """The encoder with one logit and binary cross-entropy; a new head where it has none."""
    from transformers import AutoModelForSequenceClassification

    if has_head(folder):
        check_head(folder)
    return AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=1,
        problem_type="multi_label_classification",  # BCE with logits, on any BERT-like model
        id2label={0: LABEL},
        label2id={LABEL: 0},
    )


def read_learnt(folder: str) -> Learnt | None:
    """What the model in `folder` learnt besides its weights; None where it is not one of ours."""
    values = getattr(_config(folder), KEY, None)
    return Learnt.from_dict(values) if values else None


def vote_c(config: Config, folder: str) -> float:
    """`vote.c`, or what the model in `folder` brings along, or the published 2."""
    if config.vote.c is not None:
        return config.vote.c
    learnt = read_learnt(folder)
    return learnt.vote_c if learnt else PUBLISHED_C


def alert_threshold(config: Config, folder: str, windows: Sequence[str]) -> float:
    """`score.alert_threshold`, or where the model in `folder` learnt to reach a precision of 0.80
    in one of the windows (the first that has such a threshold), or 0.5."""
    if config.score.alert_threshold is not None:
        return config.score.alert_threshold
    learnt = read_learnt(folder)
    for window in windows:
        point = pick(learnt.alerts.get(window, ()), 0.80) if learnt else None
        if point is not None:
            return point.threshold
    return 0.5


def _config(folder: str) -> Any:
    from transformers import AutoConfig

    if Path(folder).is_dir() and not (Path(folder) / "config.json").exists():
        raise UserError(f"model.path: {folder} has no config.json: it is no Hugging Face folder")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"model.path: {folder} cannot be loaded: {reason}") from None
