"""Fine-tuning with the Trainer, chosen by the patient-level AUROC on validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from readmit_spark.config import Train
from readmit_spark.core.metrics import evaluate
from readmit_spark.core.vote import vote_score
from readmit_spark.errors import UserError
from readmit_spark.models.classifier import load_for_training
from readmit_spark.models.data import ChunkDataset, Chunks, Collator


@dataclass(frozen=True)
class PatientScores:
    """Vote scores of admissions: four arrays [n], sorted by hadm_id."""

    hadm_ids: NDArray[np.int64]
    subject_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Finetuned:
    """The model of the best epoch, and how it scores the validation set."""

    model: Any
    validation: PatientScores


Log = Callable[[dict[str, float], int, int], None]
"""Called with (values, step, steps in all) for every logged loss and evaluation."""


def finetune(
    folder: str,
    train: Chunks,
    validation: Chunks,
    settings: Train,
    *,
    vote_c: float,
    seed: int,
    work: str,
    log: Log,
) -> Finetuned:
    """Trains on `train`, evaluates after each epoch, keeps the epoch with the best AUROC.

    `work` is a folder for checkpoints. bf16 on a GPU that has it, else fp32. UserError where a set
    lacks a class.
    """
    for name, chunks in (("train", train), ("validation", validation)):
        labels = set(chunks.labels.tolist())
        if labels != {0, 1}:
            missing = "readmitted" if 1 not in labels else "other"
            raise UserError(
                f"the {name} split has no {missing} admissions with chunks: more patients needed"
            )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # progress goes through `log`
    set_seed(seed)
    model = load_for_training(folder)
    validation = validation.by_length()  # batches of one length need no padding
    trainer = _Trainer(
        model=model,
        args=_arguments(settings, len(train), seed, work),
        train_dataset=ChunkDataset(train),
        eval_dataset=ChunkDataset(validation),
        data_collator=Collator(model.config.pad_token_id or 0),
        compute_metrics=lambda p: patient_auroc(p.predictions, validation, vote_c),
        callbacks=[EarlyStoppingCallback(settings.patience), _Report(log)],
    )
    # Its printing of every log to stdout; ours goes through `log`.
    trainer.remove_callback(next(c for c in trainer.callback_handler.callbacks if _prints(c)))
    with _fast_cpu_products():
        trainer.train()
    logits = trainer.predict(ChunkDataset(validation)).predictions
    return Finetuned(model, patient_scores(logits, validation, vote_c))


def patient_scores(logits: Any, chunks: Chunks, c: float) -> PatientScores:
    """The vote of each admission's chunks; logits: [n, 1], a row a chunk, in any order."""
    probabilities = 1.0 / (1.0 + np.exp(-logits[:, 0].astype(np.float64)))
    order = np.argsort(chunks.hadm_ids, kind="stable")
    ids, first = np.unique(chunks.hadm_ids[order], return_index=True)
    groups = np.split(probabilities[order], first[1:])
    first = order[first]
    scores = np.array([vote_score(group.tolist(), c) for group in groups])
    return PatientScores(ids, chunks.subject_ids[first], scores, chunks.labels[first])


def patient_auroc(logits: Any, chunks: Chunks, c: float) -> dict[str, float]:
    """{"auroc": ...} at patient level, as the Trainer wants it."""
    found = patient_scores(logits, chunks, c)
    measured = evaluate(found.scores, found.labels, found.subject_ids, replicates=0)
    return {"auroc": measured["auroc"]["value"]}


def _arguments(settings: Train, n_chunks: int, seed: int, work: str) -> TrainingArguments:
    steps = math.ceil(n_chunks / settings.batch_size) * settings.epochs
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=work,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(steps * settings.warmup_ratio),
        weight_decay=settings.weight_decay,  # the Trainer spares biases and LayerNorm
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="group_by_length",  # short tails are not padded to 512
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="auroc",
        greater_is_better=True,
        logging_steps=settings.log_every,
        bf16=gpu and torch.cuda.is_bf16_supported(),
        dataloader_pin_memory=gpu,
        seed=seed,
        data_seed=seed,
        report_to=[],
        disable_tqdm=True,
    )


@contextmanager
def _fast_cpu_products() -> Iterator[None]:
    """fp32 products by oneDNN, 1.7 times as fast as torch's default on CPUs that are not Intel's.
    Where a CPU has bf16 matrix units they may be used, which training tolerates and scoring does
    not (see onednn.py)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Trainer(Trainer):
    def _get_eval_sampler(self, eval_dataset: Any) -> torch.utils.data.Sampler[int]:
        """In order: its own, with training grouped by length, shuffles the predictions' rows."""
        return torch.utils.data.SequentialSampler(eval_dataset)


class _Report(TrainerCallback):
    def __init__(self, log: Log) -> None:
        self._log = log

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        names = {"loss": "train_loss", "eval_loss": "validation_loss",
                 "eval_auroc": "validation_auroc", "learning_rate": "learning_rate",
                 "grad_norm": "grad_norm"}  # fmt: skip
        values = {names[k]: float(v) for k, v in (logs or {}).items() if k in names}
        if values:
            self._log(values, state.global_step, state.max_steps)


def _prints(callback: Any) -> bool:
    return type(callback).__name__ in ("PrinterCallback", "ProgressCallback")
