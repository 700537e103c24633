"""Checkpoints of a training: its last state and its best weights, on a disk or on S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.training.plan import History, TrainingPlan

_LATEST = "latest.json"


@dataclass
class TrainingState:
    """Progress of a training, without weights and optimiser moments.

    step: optimiser steps taken. loss: sum of the losses since the last logged one. best_step,
    best_auroc: of the best evaluation. stale: evaluations since then. done: no step follows.
    """

    step: int = 0
    loss: float = 0.0
    best_step: int = 0
    best_auroc: float = -1.0
    stale: int = 0
    done: bool = False
    history: History = field(default_factory=list)


class Checkpoints:
    """The last state of a training and its best weights, in one folder.

    Each state is a file of its own. A small file, written last, names the current one, so a
    training killed while it saves keeps the previous state.
    """

    def __init__(self, folder: str) -> None:
        self._store = FileStore(folder)

    def save(self, state: TrainingState, parts: Mapping[str, Any]) -> None:
        """Save the state and the `state_dict` of each part; then delete the files it replaces."""
        name = f"step-{state.step}.pt"
        content = {key: part.state_dict() for key, part in parts.items()}
        content["state"] = asdict(state)
        self._store.write(name, lambda file: torch.save(content, file))
        self._store.write_json(_LATEST, name)
        for old in self._store.names():
            if old.endswith((".pt", ".pt.new")) and old not in (name, _best_name(state)):
                self._store.delete(old)

    def load(self, parts: Mapping[str, Any], device: Any) -> TrainingState:
        """Load the last checkpoint into the parts; return its state (new if none exists)."""
        name = self._store.read_json(_LATEST)
        if name is None:
            return TrainingState()
        content = self._read(name, device)
        for key, part in parts.items():
            part.load_state_dict(content[key])
        return TrainingState(**content["state"])

    def save_best(self, state: TrainingState, model: Any) -> None:
        """Save the weights of `state.best_step`; they become current with the next `save`."""
        weights = model.state_dict()
        self._store.write(_best_name(state), lambda file: torch.save(weights, file))

    def load_best(self, state: TrainingState, model: Any, device: Any) -> None:
        """Load the weights of `state.best_step` into `model`."""
        model.load_state_dict(self._read(_best_name(state), device))

    def _read(self, name: str, device: Any) -> Any:
        return self._store.read(
            name, lambda file: torch.load(file, map_location=device, weights_only=True)
        )


def load_best_model(plan: TrainingPlan) -> Any:
    """Return the model of the best epoch of a finished training: on the CPU, in eval mode."""
    checkpoints = Checkpoints(plan.checkpoint_folder)
    model = load_for_training(plan.start_model)
    checkpoints.load_best(checkpoints.load({}, "cpu"), model, "cpu")
    return model.eval()


def _best_name(state: TrainingState) -> str:
    return f"best-{state.best_step}.pt"
