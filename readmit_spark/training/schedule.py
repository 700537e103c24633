"""Which chunks each optimiser step takes: the same ones on any number of processes.

A batch is cut into *lanes* of `micro` chunks, each one forward pass. A chunk stays in its lane for
the whole training, and a process owns whole lanes, so it reads its own chunks only; and as the
lanes do not depend on the number of processes, neither do the batches, the padding or the dropout.
numpy only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from readmit_spark.errors import UserError
from readmit_spark.scoring.batching import Index

_POOL = 50  # micro batches sorted together: like lengths meet, and who meets whom still changes


def lanes_of(
    batch: int,
    micro: int,
    processes: int,
    names: tuple[str, str] = ("train.batch_size", "train.micro_batch_size"),
) -> int:
    """How many lanes a batch has; UserError, by the keys' names, where they do not come out even.

    >>> lanes_of(32, 8, processes=2)
    4
    """
    micro = min(micro, batch)
    if batch % micro or (batch // micro) % processes:
        raise UserError(
            f"{names[0]} {batch} is not {names[1]} {micro} times "
            f"train.processes {processes} times a whole number; lower {names[1]}"
        )
    return batch // micro


def steps_an_epoch(rows: int, lanes: int, micro: int) -> int:
    """How many steps `epoch_steps` gives.

    >>> steps_an_epoch(33, lanes=4, micro=4)
    3
    """
    return math.ceil(math.ceil(rows / lanes) / micro)


def deal(lengths: Index, lanes: int) -> list[Index]:
    """Rows of each lane, longest first: dealt in the order of length, so lanes are alike.

    lengths: [n] tokens. Every row is in exactly one lane; lanes differ by at most one row.
    """
    order = np.argsort(-lengths, kind="stable")
    return [order[lane::lanes] for lane in range(lanes)]


def epoch_steps(
    lengths: Index, lanes: int, micro: int, seed: int, epoch: int, by_length: bool = True
) -> list[list[Index]]:
    """The rows of every step of an epoch, lane by lane: steps x lanes arrays of at most `micro`.

    Every row comes once; which ones meet, and in which order, changes from epoch to epoch. With
    `by_length` chunks of like length share a step, so little is padded and no process waits for
    another. Where the rows do not come out even, some arrays are short or empty.
    """
    pool_rows = _POOL * micro if by_length else micro
    columns = []
    for lane, rows in enumerate(deal(lengths, lanes)):
        random = np.random.default_rng([seed, epoch, lane])
        shuffled = random.permutation(rows)
        pools = [
            pool[np.argsort(-lengths[pool], kind="stable")] for pool in _cut(shuffled, pool_rows)
        ]
        columns.append([part for pool in pools for part in _cut(pool, micro)])
    steps = max(len(column) for column in columns)
    none = np.empty(0, dtype=np.int64)
    table = [[c[step] if step < len(c) else none for c in columns] for step in range(steps)]
    order = np.random.default_rng([seed, epoch]).permutation(steps)
    return [table[step] for step in order]


def _cut(rows: NDArray[np.int64], size: int) -> list[Index]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
