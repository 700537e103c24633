"""Optimiser steps that do not depend on how many processes take them, nor on what came before.

Not transformers' Trainer, for three promises that it does not make: the batches and the dropout do
not depend on the number of processes; nothing depends on the state of a random generator, so that a
training killed at any step ends with the weights of an undisturbed one; and a checkpoint is there
whole or not at all, on a disk or on S3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import get_parameter_names
from transformers.utils import logging as transformers_logging

from readmit_spark.config import Train
from readmit_spark.scoring.batching import Index
from readmit_spark.training.ranks import Ranks

_NO_DECAY = [r"bias", r"layernorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]

_GPU_WIDTHS = 64  # tokens
Log = Callable[[dict[str, float], int, int], None]
"""Called with (values, step, steps in all) for every logged loss and evaluation."""


class Optimisation:
    """AdamW with a linear warm-up and decay of the learning rate, of one model on many ranks.

    Of `settings` the learning rate, warmup_ratio, weight_decay and max_grad_norm; `steps` in all.
    """

    def __init__(
        self, model: nn.Module, ranks: Ranks, settings: Train, steps: int, seed: int
    ) -> None:
        self.model, self.ranks, self.settings = model, ranks, settings
        self.steps, self.seed = steps, seed
        self.optimizer = torch.optim.AdamW(
            _groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.scheduler = get_linear_schedule_with_warmup(
            self.optimizer, round(steps * settings.warmup_ratio), steps
        )
        self.parallel: nn.Module = model
        self.rate, self.norm = 0.0, torch.zeros(())  # of the last step; the gradient's length

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def connect(self) -> None:
        """To the other ranks, once the model has the weights to begin with."""
        if self.ranks.world > 1:
            devices = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, device_ids=devices)

    def step(
        self, number: int, lanes: list[Index], share: Callable[[nn.Module, Index], Tensor]
    ) -> Tensor:
        """Step `number` on the rows of all lanes, of which this rank takes its own. Gives the loss.

        share(model, rows): those rows' share of the step's loss, which is the sum over the lanes. A
        lane that has run out is asked for an empty one's share: a forward pass with a weight of 0,
        as the other ranks wait for it.
        """
        mine = list(enumerate(lanes))[self.ranks.rank :: self.ranks.world]
        loss = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        self.parallel.train()
        for lane, rows in mine:
            # The seed belongs to step and lane: the same dropout on any rank, and after a restart.
            seed = np.random.SeedSequence([self.seed, number, lane]).generate_state(1)
            torch.manual_seed(int(seed[0]))
            with self._gradients_meet(lane == mine[-1][0]):
                part = share(self.parallel, rows)
                (part * self.ranks.world).backward()  # ranks average their gradients
                loss += part.detach()
        self.norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return self.ranks.total(loss)

    def _gradients_meet(self, now: bool) -> contextlib.AbstractContextManager[object]:
        """Ranks exchange gradients in the last backward pass of a step, not in every one."""
        if now or not isinstance(self.parallel, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.parallel.no_sync()


def widths(device: torch.device) -> int:
    """What training pads to a multiple of: on a GPU every new shape costs choosing kernels and
    memory anew, tens of milliseconds."""
    return _GPU_WIDTHS if device.type == "cuda" else 1


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bf16 on a GPU that computes in it, else fp32: where it is emulated, it is the slower one."""
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast("cuda", torch.bfloat16, enabled=half)


@contextlib.contextmanager
def fast_cpu_products() -> Iterator[None]:
    """fp32 products by oneDNN: 1.7 times as fast as torch's default on AMD CPUs with AVX-512, as
    fast on others. Where a CPU has bf16 matrix units they may be used, which training tolerates and
    scoring does not (see onednn.py)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def quiet_transformers() -> None:
    """No bars and no advice over a job's own lines."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameters with and without weight decay: none on biases and norms, as BERT was trained."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], _NO_DECAY))
    named = list(model.named_parameters())
    return [
        {"params": [p for n, p in named if n in decayed], "weight_decay": decay},
        {"params": [p for n, p in named if n not in decayed], "weight_decay": 0.0},
    ]
