"""Which chunks each optimiser step takes: the same ones on any number of processes.

A batch is cut into *lanes* of `micro` chunks, each one forward pass. A lane's chunks are of like
length, and a chunk stays in its lane for the whole training. A process owns whole lanes, so it
reads its own chunks only; and as the lanes do not depend on the number of processes, neither do the
batches, the padding or the dropout. numpy only.
"""

from __future__ import annotations

import math

import numpy as np

from readmit_spark.errors import UserError
from readmit_spark.models.batching import Index


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
    """Rows of each lane, the longest in the first one. Lanes differ by at most one row.

    lengths: [n] tokens. Every row is in exactly one lane.
    """
    return np.array_split(np.argsort(-lengths, kind="stable"), lanes)


def lanes_of_rank(lanes: int, rank: int, processes: int) -> list[int]:
    """Which lanes a process owns: one from either end in turn, so that each has long and short
    chunks, where there are at least two lanes a process.

    >>> [lanes_of_rank(4, rank, processes=2) for rank in range(2)]
    [[0, 3], [1, 2]]
    """
    turn = 2 * processes
    return [lane for lane in range(lanes) if lane % turn in (rank, turn - 1 - rank)]


def epoch_steps(lengths: Index, lanes: int, micro: int, seed: int, epoch: int) -> list[list[Index]]:
    """The rows of every step of an epoch, lane by lane: steps x lanes arrays of at most `micro`.

    Every row comes once, and which ones meet changes from epoch to epoch. A forward pass has
    chunks of like length, so little is padded, yet a step has some of all lengths: a step of one
    length learns what its length has in common and forgets it in the next one, which cost the demo
    0.05 of its AUROC. Where the rows do not come out even, the last arrays are short or empty.
    """
    columns = []
    for lane, rows in enumerate(deal(lengths, lanes)):
        shuffled = np.random.default_rng([seed, epoch, lane]).permutation(rows)
        columns.append([shuffled[at : at + micro] for at in range(0, len(rows), micro)])
    none = np.empty(0, dtype=np.int64)
    steps = steps_an_epoch(len(lengths), lanes, micro)
    return [[c[step] if step < len(c) else none for c in columns] for step in range(steps)]
