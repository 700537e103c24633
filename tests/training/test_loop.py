"""The training loop on a model with one weight: what it logs, saves and resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from readmit_spark.scoring.batching import Index
from readmit_spark.training.checkpoints import Checkpoints
from readmit_spark.training.loop import TrainingLoop, progress_line
from readmit_spark.training.optimisation import Optimisation
from readmit_spark.training.ranks import Ranks
from tests.prepared import settings

LENGTHS = np.array([5, 9, 4, 2, 7])  # with two lanes of one row: steps of 2, 2 and 1 rows
STEPS = 5

Logged = list[tuple[int, dict[str, float]]]


class Scale(nn.Module):
    """Multiplies by its only weight, 1 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Training:
    """Minimises weight * 2 * (share of all rows); remembers which rows each step took."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.logged: Logged = []
        self.taken: list[list[list[int]]] = []
        self.model = Scale()
        train = settings(learning_rate=0.1, warmup_ratio=0.0, weight_decay=0.0, **changes)
        optimisation = Optimisation(self.model, Ranks(0, 1, torch.device("cpu")), train, STEPS)
        self.loop = TrainingLoop(optimisation, LENGTHS, 2, 1, str(folder), self.log)

    def log(self, values: dict[str, float], step: int, steps: int) -> None:
        assert steps == STEPS
        self.logged.append((step, values))

    def step_loss(self, lanes: list[Index]) -> Callable[[nn.Module, Index], Tensor]:
        self.taken.append([rows.tolist() for rows in lanes])
        total = sum(map(len, lanes))
        return lambda model, rows: 2 * model(torch.ones(len(rows))).sum() / total

    def stop_at(self, step: int) -> Callable[[], bool]:
        def evaluate() -> bool:
            self.loop.state.done = self.loop.state.step == step
            return self.loop.state.done

        return evaluate

    def run(self, last: int = STEPS) -> None:
        self.loop.run(self.step_loss, self.stop_at(last))


def test_each_epoch_takes_every_row_once(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.run()
    assert len(training.taken) == STEPS
    first_epoch = [row for lanes in training.taken[:3] for rows in lanes for row in rows]
    assert sorted(first_epoch) == [0, 1, 2, 3, 4]
    assert min(len(rows) for lanes in training.taken[:3] for rows in lanes) == 0  # an empty lane


def test_it_logs_the_mean_loss_since_the_last_line(tmp_path: Path) -> None:
    training = Training(tmp_path, log_every=2)
    training.run()
    assert [step for step, _ in training.logged] == [2, 4, 5]
    first = training.logged[0][1]
    # AdamW moves the weight by the learning rate: 0.1 in the first step, so losses are 2 and 1.8.
    assert first["train_loss"] == pytest.approx((2 + 1.8) / 2, abs=1e-6)
    assert first["learning_rate"] == pytest.approx(0.1 * 4 / 5)  # linear decay over 5 steps
    assert first["grad_norm"] == pytest.approx(2.0)


def test_epoch_ended_is_true_after_three_steps_and_at_the_end(tmp_path: Path) -> None:
    training, ends = Training(tmp_path), []

    def evaluate() -> bool:
        state = training.loop.state
        if training.loop.epoch_ended:
            ends.append(state.step)
        state.done = state.step == STEPS
        return False

    training.loop.run(training.step_loss, evaluate)
    assert ends == [3, STEPS]


def test_a_stopped_training_resumes_with_the_same_weights_and_log(tmp_path: Path) -> None:
    undisturbed = Training(tmp_path / "undisturbed", log_every=2)
    undisturbed.run()
    Training(tmp_path / "stopped", log_every=2).run(last=3)
    resumed = Training(tmp_path / "stopped", log_every=2)
    assert resumed.logged == undisturbed.logged[:1]  # repeated at the restart
    assert resumed.loop.state.step == 3
    resumed.loop.state.done = False
    resumed.run()
    assert resumed.taken == undisturbed.taken[3:]
    assert resumed.logged == undisturbed.logged
    assert torch.equal(resumed.model.weight, undisturbed.model.weight)


def test_a_checkpoint_follows_an_evaluation_or_the_time(tmp_path: Path) -> None:
    never = Training(tmp_path / "never", checkpoint_minutes=1e9)

    def end_without_evaluation() -> bool:
        never.loop.state.done = never.loop.state.step == 2
        return False

    never.loop.run(never.step_loss, end_without_evaluation)
    assert Checkpoints(str(tmp_path / "never")).load({}, "cpu").step == 0
    often = Training(tmp_path / "often", checkpoint_minutes=0.0)

    def kill() -> bool:
        if often.loop.state.step == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        often.loop.run(often.step_loss, kill)
    assert Checkpoints(str(tmp_path / "often")).load({}, "cpu").step == 2


def test_only_the_first_rank_logs(tmp_path: Path) -> None:
    logged: Logged = []
    second = Ranks(1, 2, torch.device("cpu"))
    optimisation = Optimisation(Scale(), second, settings(), STEPS)
    optimisation.connect_ranks = lambda: None  # type: ignore[method-assign]
    loop = TrainingLoop(
        optimisation,
        LENGTHS,
        2,
        1,
        str(tmp_path),
        lambda *values: logged.append(values),  # type: ignore[arg-type]
    )
    loop.record(validation_auroc=0.7)
    assert loop.state.history == [(0, {"validation_auroc": 0.7})]
    assert logged == []


def test_a_progress_line_shows_losses_and_measures_only() -> None:
    values = {"train_loss": 0.52, "learning_rate": 1e-5, "grad_norm": 3.0}
    assert progress_line(values, 10, 200) == "step 10/200: train_loss 0.520"
    values = {"mlm_accuracy": 0.25, "nsp_accuracy": 0.5}
    assert progress_line(values, 0, 9) == "step 0/9: mlm_accuracy 0.250, nsp_accuracy 0.500"
