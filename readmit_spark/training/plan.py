"""The settings of one training, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from readmit_spark.config import Train
from readmit_spark.training.validation_scores import ChunkScores

History = list[tuple[int, dict[str, float]]]
"""(step, values) of everything logged, in order."""


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of one fine-tuning, the same in every process.

    start_model: folder of the model to start from. prepared_folder: run folder of prepare. fold:
    the fold held out for testing; None uses the splits of the cohort. train_windows: windows whose
    chunks are trained on, `train.window` last; several are snapshots of the same stays.
    scored_windows: windows that
    the best model scores at the end. settings: the `train` section of the configuration. vote_c:
    c of the vote that selects the best epoch. checkpoint_folder: unique to this training. Every
    process must be able to read all three folders and write the last one.
    """

    start_model: str
    prepared_folder: str
    fold: int | None
    train_windows: tuple[str, ...]
    scored_windows: tuple[str, ...]
    settings: Train
    vote_c: float
    checkpoint_folder: str


@dataclass(frozen=True)
class Trained:
    """Result of a fine-tuning.

    history: everything logged. steps: planned optimiser steps; early stopping may have taken fewer.
    best_step: the step after which validation AUROC was highest. scores: chunk probabilities of the
    model of that step, by part (validation; with a fold also test) and window.
    """

    history: History
    steps: int
    best_step: int
    scores: dict[str, dict[str, ChunkScores]]
