"""The processes that train one model together: torch.distributed, or this process alone."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from readmit_spark.errors import UserError

_PATIENCE = timedelta(minutes=30)  # a rank may wait that long for another, such as for validation


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`, which computes on `device`."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def alone(cls) -> Ranks:
        return cls(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def join(cls) -> Ranks:
        """Meets the other processes that torchrun started: NCCL on GPUs, gloo on CPUs.

        On CPUs the cores of a machine are shared out among the ranks on it.
        """
        gpu = torch.cuda.is_available()
        device = torch.device("cpu")
        if gpu:
            here, gpus = dist.get_node_local_rank(0), torch.cuda.device_count()
            if here >= gpus:
                raise UserError(f"train.processes: a machine has {gpus} GPUs; lower it")
            device = torch.device("cuda", here)
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)
        ranks = cls(dist.get_rank(), dist.get_world_size(), device)
        if not gpu:
            host = socket.gethostname()
            mates = ranks.gather(host).count(host)
            torch.set_num_threads(max(1, _cores() // mates))
        return ranks

    def leave(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def total(self, value: Tensor) -> Tensor:
        """The sum over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(value)
        return value


def _cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
