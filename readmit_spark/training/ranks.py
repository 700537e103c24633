"""Processes that train one model together through torch.distributed, or one process alone."""

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

_TIMEOUT = timedelta(minutes=30)  # for example while another rank saves a checkpoint


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world` processes; it computes on `device`."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def alone(cls) -> Ranks:
        """Return the only rank, on a GPU if there is one."""
        return cls(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def join(cls) -> Ranks:
        """Connect to the other processes that torchrun started: NCCL on GPUs, gloo on CPUs.

        On CPUs the ranks of a machine divide its cores. UserError if a machine has fewer GPUs than
        ranks.
        """
        gpu = torch.cuda.is_available()
        device = torch.device("cpu")
        if gpu:
            local_rank, gpus = dist.get_node_local_rank(0), torch.cuda.device_count()
            if local_rank >= gpus:
                raise UserError(f"train.processes: a machine has only {gpus} GPUs; lower it")
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if gpu else "gloo", timeout=_TIMEOUT)
        ranks = cls(dist.get_rank(), dist.get_world_size(), device)
        if not gpu:
            host = socket.gethostname()
            on_this_host = ranks.gather(host).count(host)
            torch.set_num_threads(max(1, _usable_cores() // on_this_host))
        return ranks

    def leave(self) -> None:
        """Disconnect from the other ranks."""
        if self.world > 1:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in the order of the ranks, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def sum(self, value: Tensor) -> Tensor:
        """Replace `value` by its sum over all ranks, and return it."""
        if self.world > 1:
            dist.all_reduce(value)
        return value


def _usable_cores() -> int:
    """Return how many cores this process may use, or all of the machine if that is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
