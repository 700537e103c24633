"""Which rows each optimiser step takes; independent of the number of processes.

A batch consists of *lanes*, each one forward pass of at most `micro_batch` rows. A row stays in its
lane for the whole training, and a process owns whole lanes, so it reads only its own rows. Lanes do
not depend on the number of processes, so neither do batches, padding or dropout. numpy only.
"""

from __future__ import annotations

import math

import numpy as np

from readmit_spark.errors import UserError
from readmit_spark.scoring.batching import Index

# Micro-batches sorted by length together: enough for little padding, few enough that the rows of a
# micro-batch still change between epochs.
_POOL = 50


def count_lanes(
    batch: int,
    micro_batch: int,
    processes: int,
    keys: tuple[str, str] = ("train.batch_size", "train.micro_batch_size"),
) -> int:
    """Return how many lanes a batch has, a multiple of `processes`.

    UserError, with the configuration keys of `batch` and `micro_batch`, if they do not divide
    evenly.

    >>> count_lanes(32, 8, processes=2)
    4
    """
    micro_batch = min(micro_batch, batch)
    if batch % micro_batch or (batch // micro_batch) % processes:
        raise UserError(
            f"{keys[0]} {batch} is not a multiple of {keys[1]} {micro_batch} times "
            f"train.processes {processes}; lower {keys[1]}"
        )
    return batch // micro_batch


def steps_per_epoch(rows: int, lanes: int, micro_batch: int) -> int:
    """Return how many steps `epoch_steps` returns.

    >>> steps_per_epoch(33, lanes=4, micro_batch=4)
    3
    """
    return math.ceil(math.ceil(rows / lanes) / micro_batch)


def assign_to_lanes(lengths: Index, lanes: int) -> list[Index]:
    """Return the rows of each lane, longest first.

    lengths: [n] tokens. Rows go to the lanes in turn, by falling length, so lanes are alike and
    differ by at most one row.

    >>> [rows.tolist() for rows in assign_to_lanes(np.array([5, 9, 4, 2, 7]), lanes=2)]
    [[1, 0, 3], [4, 2]]
    """
    order = np.argsort(-lengths, kind="stable")
    return [order[lane::lanes] for lane in range(lanes)]


def rows_of_rank(lengths: Index, lanes: int, rank: int, world: int) -> Index:
    """Return the rows that one rank of `world` trains on: the rows of its lanes."""
    return np.concatenate(assign_to_lanes(lengths, lanes)[rank::world])


def epoch_steps(
    lengths: Index,
    lanes: int,
    micro_batch: int,
    seed: int,
    epoch: int,
    by_length: bool = True,
) -> list[list[Index]]:
    """Return the rows of every step of an epoch: steps x lanes arrays of at most `micro_batch`.

    Each row comes once. The rows of a step, and the order of the steps, change with each epoch. If
    `by_length`, rows of similar length share a step, so padding is small and no process waits for
    another. If the rows do not divide evenly, some arrays are shorter or empty.
    """
    pool_size = _POOL * micro_batch if by_length else micro_batch
    by_lane = []
    for lane, rows in enumerate(assign_to_lanes(lengths, lanes)):
        random = np.random.default_rng([seed, epoch, lane])
        shuffled = random.permutation(rows)
        pools = [
            pool[np.argsort(-lengths[pool], kind="stable")] for pool in _cut(shuffled, pool_size)
        ]
        by_lane.append([part for pool in pools for part in _cut(pool, micro_batch)])
    steps = max(len(parts) for parts in by_lane)
    empty = np.empty(0, dtype=np.int64)
    table = [
        [parts[step] if step < len(parts) else empty for parts in by_lane] for step in range(steps)
    ]
    order = np.random.default_rng([seed, epoch]).permutation(steps)
    return [table[step] for step in order]


def _cut(rows: Index, size: int) -> list[Index]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
