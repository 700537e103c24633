"""The training loop: epochs, logging, checkpoints, and resuming after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from readmit_spark.scoring.batching import Index
from readmit_spark.training.checkpoints import Checkpoints
from readmit_spark.training.optimisation import LaneLoss, Optimisation
from readmit_spark.training.schedule import epoch_steps, rows_of_rank, steps_per_epoch

Log = Callable[[dict[str, float], int, int], None]
"""log(values, step, steps) receives every logged loss and evaluation; steps: planned in total."""

_PRINTED = ("train_loss", "validation_loss", "validation_auroc", "mlm_accuracy", "nsp_accuracy")


def progress_line(values: dict[str, float], step: int, steps: int) -> str:
    """Return logged values as text, such as `step 10/200: train_loss 0.520`."""
    return f"step {step}/{steps}: " + ", ".join(
        f"{name} {value:.3f}" for name, value in values.items() if name in _PRINTED
    )


class TrainingLoop:
    """Optimiser steps over rows of known length; every rank runs one.

    lengths: [n] tokens of each row. A step takes `lanes` x `micro_batch` rows. `state` is read
    from the last checkpoint in `checkpoint_folder`, or new if there is none. Only the first rank
    calls `log`; after a restart it repeats what was logged before.
    """

    def __init__(
        self,
        optimisation: Optimisation,
        lengths: Index,
        lanes: int,
        micro_batch: int,
        checkpoint_folder: str,
        log: Log,
    ) -> None:
        self.steps = optimisation.steps
        self._optimisation, self._ranks = optimisation, optimisation.ranks
        self._lengths, self._lanes, self._micro_batch = lengths, lanes, micro_batch
        self._settings = optimisation.settings
        self._log = log if self._ranks.first else lambda *_: None
        self._steps_per_epoch = steps_per_epoch(len(lengths), lanes, micro_batch)
        self._stand_in = rows_of_rank(lengths, lanes, self._ranks.rank, self._ranks.world)[:1]
        self.checkpoints = Checkpoints(checkpoint_folder)
        self.state = self.checkpoints.load(optimisation.parts, self._ranks.device)
        self._loss = torch.tensor(self.state.loss, dtype=torch.float64, device=self._ranks.device)
        optimisation.connect_ranks()
        for step, values in self.state.history:
            self._log(values, step, self.steps)

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step ended an epoch or the training."""
        return self.state.step % self._steps_per_epoch == 0 or self.state.step == self.steps

    def run(
        self, step_loss: Callable[[list[Index]], LaneLoss], evaluate: Callable[[], bool]
    ) -> None:
        """Take steps until `state.done`.

        step_loss(lanes) returns the loss function of a step on these rows. evaluate() is called
        after each step. It evaluates if an evaluation is due, may set `state.done`, and returns
        whether it evaluated. A checkpoint is saved after each evaluation and every
        `checkpoint_minutes`.
        """
        saved_at = time.monotonic()
        while not self.state.done:
            epoch, taken = divmod(self.state.step, self._steps_per_epoch)
            for lanes in self._epoch(epoch)[taken:]:
                self._step(lanes, step_loss(lanes))
                minutes = self._settings.checkpoint_minutes
                due = evaluate() or (time.monotonic() - saved_at) / 60 >= minutes
                if due and self._ranks.first:
                    self.state.loss = self._loss.item()
                    self.checkpoints.save(self.state, self._optimisation.parts)
                if due:
                    saved_at = time.monotonic()
                if self.state.done:
                    break

    def record(self, **values: float) -> None:
        """Add values of the last step to the history and log them."""
        self.state.history.append((self.state.step, values))
        self._log(values, self.state.step, self.steps)

    def _epoch(self, epoch: int) -> list[list[Index]]:
        seed, by_length = self._settings.seed, self._settings.group_by_length
        return epoch_steps(self._lengths, self._lanes, self._micro_batch, seed, epoch, by_length)

    def _step(self, lanes: list[Index], loss: LaneLoss) -> None:
        self._loss += self._optimisation.step(self.state.step, lanes, loss, self._stand_in)
        self.state.step += 1
        if self.state.step % self._settings.log_every == 0 or self.state.step == self.steps:
            steps = (self.state.step - 1) % self._settings.log_every + 1
            self.record(
                train_loss=self._loss.item() / steps,
                learning_rate=self._optimisation.learning_rate,
                grad_norm=self._optimisation.gradient_norm.item(),
            )
            self._loss.zero_()
