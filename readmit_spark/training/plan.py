"""What a training is told, what it gives, and where it is kept in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from readmit_spark.config import Train
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.training.validation_scores import ChunkScores


@dataclass(frozen=True)
class Plan:
    """One training, as every process is told it.

    model: folder to start from. folder: run of prepare. fold: the one held out, or None for the
    cohort's splits. windows: those that the best model scores at the end. work: folder of the
    checkpoints. Every process can read `model` and `folder`, and read and write `work`.
    """

    model: str
    folder: str
    fold: int | None
    windows: tuple[str, ...]
    settings: Train
    vote_c: float
    seed: int
    work: str


@dataclass(frozen=True)
class Trained:
    """history: (step, values) as logged. steps: in all, had it not stopped early. scores: by part
    (validation; with a fold, test) and window; those of the best epoch's model."""

    history: list[tuple[int, dict[str, float]]]
    steps: int
    best_step: int
    scores: dict[str, dict[str, ChunkScores]]


@dataclass
class State:
    """How far a training is, besides weights and moments."""

    step: int = 0
    loss: float = 0.0  # sum since it was last logged
    best_step: int = 0
    best_auroc: float = -1.0
    stale: int = 0  # evaluations since the best
    done: bool = False
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)


class Checkpoints:
    """The last state of a training and its best weights.

    Each state is a file of its own, and a small file, written last, names the one that counts.
    """

    def __init__(self, work: str) -> None:
        self._store = FileStore(work)

    def save(self, state: State, parts: Mapping[str, Any]) -> None:
        """The state and the `state_dict` of each part, then removes what it replaces."""
        name = f"step-{state.step}.pt"
        content = {key: part.state_dict() for key, part in parts.items()}
        content["state"] = asdict(state)
        self._store.write(name, lambda file: torch.save(content, file))
        self._store.write_json("latest.json", name)
        keep = {name, _best(state), "latest.json"}
        for old in self._store.names():
            if old not in keep and old.endswith(".pt"):
                self._store.delete(old)

    def load(self, parts: Mapping[str, Any], device: Any) -> State:
        """Puts the last checkpoint into the parts; a new State where there is none."""
        name = self._store.read_json("latest.json")
        if name is None:
            return State()
        found = self._read(name, device)
        for key, part in parts.items():
            part.load_state_dict(found[key])
        return State(**found["state"])

    def save_best(self, state: State, model: Any) -> None:
        """The weights of step `state.best_step`; they count once a state that names it is saved."""
        weights = model.state_dict()
        self._store.write(_best(state), lambda file: torch.save(weights, file))

    def load_best(self, state: State, model: Any, device: Any) -> None:
        model.load_state_dict(self._read(_best(state), device))

    def _read(self, name: str, device: Any) -> Any:
        return self._store.read(
            name, lambda file: torch.load(file, map_location=device, weights_only=True)
        )


def best_model(plan: Plan) -> Any:
    """The model of the best epoch of a training that has ended: on the CPU, in eval mode."""
    checkpoints = Checkpoints(plan.work)
    model = load_for_training(plan.model)
    checkpoints.load_best(checkpoints.load({}, "cpu"), model, "cpu")
    return model.eval()


def _best(state: State) -> str:
    return f"best-{state.best_step}.pt"
