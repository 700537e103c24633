"""Optimiser steps with the same result for any number of processes and after any restart.

transformers' Trainer does not guarantee what this code does: batches and dropout do not depend on
the number of processes; no step depends on the state of a random generator, so a training killed at
any step ends with the same weights as an undisturbed one; and checkpoints are written atomically,
on a disk or on S3.
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

LaneLoss = Callable[[nn.Module, Index], Tensor]
"""loss(model, rows): what these rows (at least one) contribute to the loss of the whole step."""

_NO_DECAY = [r"bias", r"layernorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
_GPU_MULTIPLE = 64  # tokens


class Optimisation:
    """AdamW with linear warm-up and decay of the learning rate, for one model on all ranks.

    settings: only seed, learning_rate, warmup_ratio, weight_decay and max_grad_norm are used here.
    steps: planned in total. After a step, `learning_rate` and `gradient_norm` are that step's.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, settings: Train, steps: int) -> None:
        self.model, self.ranks, self.settings = model, ranks, settings
        self.steps = steps
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.scheduler = get_linear_schedule_with_warmup(
            self.optimizer, round(steps * settings.warmup_ratio), steps
        )
        self.parallel: nn.Module = model
        self.learning_rate, self.gradient_norm = 0.0, torch.zeros(())

    @property
    def parts(self) -> dict[str, Any]:
        """The objects whose `state_dict` belongs in a checkpoint."""
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def connect_ranks(self) -> None:
        """Start gradient exchange between ranks; call after the start weights are loaded."""
        if self.ranks.world > 1:
            devices = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, device_ids=devices)

    def step(self, number: int, lanes: list[Index], loss: LaneLoss, stand_in: Index) -> Tensor:
        """Take step `number` on the rows of all lanes; return its loss, summed over the lanes.

        Each rank computes its own lanes. For an empty lane it computes `stand_in` with weight 0,
        because the other ranks wait for its backward pass.
        """
        our_lanes = list(enumerate(lanes))[self.ranks.rank :: self.ranks.world]
        total = torch.zeros((), dtype=torch.float64, device=self.ranks.device)
        self.parallel.train()
        for lane, rows in our_lanes:
            # Seeded by step and lane: the same dropout on any rank and after a restart.
            seed = np.random.SeedSequence([self.settings.seed, number, lane]).generate_state(1)
            torch.manual_seed(int(seed[0]))
            with self._exchange_gradients(lane == our_lanes[-1][0]):
                lane_loss = (
                    loss(self.parallel, rows) if len(rows) else 0.0 * loss(self.parallel, stand_in)
                )
                (lane_loss * self.ranks.world).backward()  # ranks average their gradients
                total += lane_loss.detach()
        self.gradient_norm = nn.utils.clip_grad_norm_(
            self.model.parameters(), self.settings.max_grad_norm
        )
        self.learning_rate = self.scheduler.get_last_lr()[0]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return self.ranks.sum(total)

    def _exchange_gradients(self, now: bool) -> contextlib.AbstractContextManager[object]:
        """Exchange gradients only in the last backward pass of a step."""
        if now or not isinstance(self.parallel, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.parallel.no_sync()


def padding_multiple(device: torch.device) -> int:
    """Return the multiple of tokens that training pads to.

    On a GPU every new shape costs tens of milliseconds for choosing kernels and memory.
    """
    return _GPU_MULTIPLE if device.type == "cuda" else 1


def autocast_bf16(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Compute in bf16 on a GPU that supports it natively, else in fp32: emulated bf16 is slower."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast("cuda", torch.bfloat16, enabled=native)


def fast_cpu_matmul() -> contextlib.AbstractContextManager[None]:
    """Multiply fp32 matrices with oneDNN, for training.

    Measured: 1.7 times as fast as torch's default on AMD CPUs with AVX-512, as fast on others. On
    a CPU with bf16 matrix units oneDNN may use them; training tolerates that, scoring does not
    (see scoring/onednn.py).
    """
    return _matmul_precision("medium")


def exact_cpu_matmul() -> contextlib.AbstractContextManager[None]:
    """Multiply fp32 matrices in fp32, for scores: the settings that are fitted to them, such as
    thresholds, are used with the scores of fp32 later."""
    return _matmul_precision("highest")


@contextlib.contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def quiet_transformers() -> None:
    """Turn off transformers' progress bars and advice, which would hide the job's own lines."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _parameter_groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Apply weight decay to all parameters but biases and norms, as BERT was trained."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], _NO_DECAY))
    named = list(model.named_parameters())
    return [
        {"params": [p for n, p in named if n in decayed], "weight_decay": decay},
        {"params": [p for n, p in named if n not in decayed], "weight_decay": 0.0},
    ]
