"""Fine-tune: the chunks of a window to a registered model."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from readmit_spark.config import Config, flatten, to_dict
from readmit_spark.core.learnt import KEY, Learnt
from readmit_spark.core.metrics import evaluate
from readmit_spark.core.threshold import operating_points
from readmit_spark.core.vote import PUBLISHED_C
from readmit_spark.errors import UserError
from readmit_spark.models.checkpoint import Located
from readmit_spark.models.data import Chunks, balanced_training, read_chunks
from readmit_spark.models.finetune import Finetuned, finetune
from readmit_spark.models.tracking import experiment_run, register
from readmit_spark.progress import Progress
from readmit_spark.report import pictures
from readmit_spark.steps.model_checks import check_tokens

STEPS = 3


def finetune_and_register(
    config: Config, located: Located, prepared: dict[str, Any], progress: Progress
) -> str:
    """Trains from `located` on the chunks that `prepared` (prepare's manifest) describes; gives the
    registered model as name/version."""
    from transformers import AutoTokenizer

    check_tokens(config, located, prepared)
    window = config.train.window
    c = config.vote.c or PUBLISHED_C
    if window not in prepared["config"]["windows"]:
        made = ", ".join(prepared["config"]["windows"])
        raise UserError(f"train.window is {window}: prepare made {made}; set one of these")
    with progress.step("chunks"):
        train = balanced_training(read_chunks(prepared["path"], window, "train"), config.seed)
        validation = read_chunks(prepared["path"], window, "validation")
        progress.say(f"train {_counts(train)}; validation {_counts(validation)}")
    with experiment_run(
        config.tracking_uri,
        config.tracking.experiment,
        f"finetune-{window}",
        config.tracking.artifacts,
    ) as mlflow:
        mlflow.log_params(flatten({k: v for k, v in to_dict(config).items() if k in _LOGGED}))
        mlflow.log_params(
            {
                "data.train": train.fingerprint(),
                "data.validation": validation.fingerprint(),
                "data.tokenizer": prepared["tokenizer"],
            }
        )
        losses: list[tuple[int, float]] = []

        def log(values: dict[str, float], step: int, steps: int) -> None:
            mlflow.log_metrics(values, step=step)
            if "train_loss" in values:
                losses.append((step, values["train_loss"]))
            shown = ", ".join(f"{k} {v:.3f}" for k, v in values.items() if k in _SHOWN)
            progress.say(f"step {step}/{steps}: {shown}")

        with progress.step("train"), tempfile.TemporaryDirectory(prefix="readmit-train-") as work:
            result = finetune(
                located.folder,
                train,
                validation,
                config.train,
                vote_c=c,
                seed=config.seed,
                work=work,
                log=log,
            )
        with progress.step("register"):
            _log_pictures(mlflow, result, losses, config)
            points = operating_points(result.validation.scores, result.validation.labels)
            learnt = Learnt(window, config.model.max_tokens, c, {window: points})
            setattr(result.model.config, KEY, learnt.to_dict())
            name = register(
                mlflow,
                result.model,
                AutoTokenizer.from_pretrained(located.folder),
                config.model.name,
                {"window": window, "max_tokens": config.model.max_tokens, "from": located.name},
            )
    return name


_LOGGED = ("profile", "seed", "label", "chunk", "split", "model", "train", "vote")
_SHOWN = ("train_loss", "validation_loss", "validation_auroc")


def _counts(chunks: Chunks) -> str:
    labels = Counter(chunks.admissions()[1].tolist())
    return f"{len(chunks):,} chunks of {labels[1]:,} readmitted and {labels[0]:,} other admissions"


def _log_pictures(
    mlflow: Any, result: Finetuned, losses: list[tuple[int, float]], config: Config
) -> None:
    found = result.validation
    shown = (found.scores, found.labels, found.subject_ids)
    measured = evaluate(*shown, replicates=config.score.bootstrap, seed=config.seed)
    mlflow.log_dict(measured, "validation.json")
    with tempfile.TemporaryDirectory() as folder:
        for name, png in {
            "roc_validation": pictures.roc(*shown, measured, title="Validation"),
            "pr_validation": pictures.precision_recall(*shown, measured, title="Validation"),
            "loss": pictures.loss(losses, title="Training loss"),
        }.items():
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png)
            mlflow.log_artifact(str(path))
