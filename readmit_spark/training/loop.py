"""The loop around optimiser steps: epochs, what is told, checkpoints, and going on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from readmit_spark.scoring.batching import Index
from readmit_spark.training.optimisation import Log, Optimisation
from readmit_spark.training.plan import Checkpoints
from readmit_spark.training.schedule import epoch_steps, steps_an_epoch

Share = Callable[[nn.Module, Index], Tensor]
"""share(model, rows): what these rows add to a step's loss, as `Optimisation.step` asks for it."""


class Loop:
    """A training over rows of known length, `lanes` x `micro` rows a step; every rank runs it.

    `state` says how far it is: at the start, or where its last checkpoint under `work` left it.
    `log` is called on the first rank alone, and for what was before a restart as well.
    """

    def __init__(
        self,
        optimisation: Optimisation,
        lengths: Index,
        lanes: int,
        micro: int,
        work: str,
        log: Log,
    ) -> None:
        self.steps = optimisation.steps
        self._optimisation, self._ranks = optimisation, optimisation.ranks
        self._lengths, self._lanes, self._micro = lengths, lanes, micro
        self._settings = optimisation.settings
        self._log = log if self._ranks.first else lambda *_: None
        self._an_epoch = steps_an_epoch(len(lengths), lanes, micro)
        self.checkpoints = Checkpoints(work)
        self.state = self.checkpoints.load(optimisation.parts, self._ranks.device)
        self._loss = torch.tensor(self.state.loss, dtype=torch.float64, device=self._ranks.device)
        optimisation.connect()
        for step, values in self.state.history:
            self._log(values, step, self.steps)

    @property
    def epoch_ended(self) -> bool:
        return self.state.step % self._an_epoch == 0 or self.state.step == self.steps

    def run(self, share_of: Callable[[list[Index]], Share], look: Callable[[], bool]) -> None:
        """Steps until `state.done`.

        share_of(lanes) prepares the loss of a step on these rows. look() is called after each step;
        it may evaluate and set `state.done`, and says whether it has, as what it found must be
        kept. A checkpoint is written then, and whenever `checkpoint_minutes` have passed.
        """
        saved = time.monotonic()
        while not self.state.done:
            epoch, taken = divmod(self.state.step, self._an_epoch)
            for lanes in self._epoch(epoch)[taken:]:
                self._step(lanes, share_of(lanes))
                due = look() or (time.monotonic() - saved) / 60 >= self._settings.checkpoint_minutes
                if due and self._ranks.first:
                    self.state.loss = self._loss.item()
                    self.checkpoints.save(self.state, self._optimisation.parts)
                if due:
                    saved = time.monotonic()
                if self.state.done:
                    break

    def record(self, **values: float) -> None:
        """Keeps and logs values of the step that was taken last."""
        self.state.history.append((self.state.step, values))
        self._log(values, self.state.step, self.steps)

    def _epoch(self, epoch: int) -> list[list[Index]]:
        by_length = self._settings.group_by_length
        return epoch_steps(
            self._lengths, self._lanes, self._micro, self._optimisation.seed, epoch, by_length
        )  # fmt: skip

    def _step(self, lanes: list[Index], share: Share) -> None:
        self._loss += self._optimisation.step(self.state.step, lanes, share)
        self.state.step += 1
        if self.state.step % self._settings.log_every == 0 or self.state.step == self.steps:
            steps = (self.state.step - 1) % self._settings.log_every + 1
            self.record(
                train_loss=self._loss.item() / steps,
                learning_rate=self._optimisation.rate,
                grad_norm=self._optimisation.norm.item(),
            )
            self._loss.zero_()
