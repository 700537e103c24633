from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.errors import UserError
from readmit_spark.models.schedule import deal, epoch_steps, lanes_of, lanes_of_rank


@given(
    st.lists(st.integers(2, 512), min_size=8, max_size=300),
    st.sampled_from([(1, 8), (2, 4), (4, 2), (8, 1)]),
    st.integers(0, 3),
)
def test_an_epoch_has_every_chunk_once_and_each_in_its_own_lane(
    lengths: list[int], shape: tuple[int, int], epoch: int
) -> None:
    lanes, micro = shape
    sizes = np.array(lengths)
    owned = [set(rows.tolist()) for rows in deal(sizes, lanes)]
    assert max(map(len, owned)) - min(map(len, owned)) <= 1
    steps = epoch_steps(sizes, lanes, micro, seed=3, epoch=epoch)
    assert len(steps) == math.ceil(math.ceil(len(lengths) / lanes) / micro)
    seen: list[int] = []
    for step in steps:
        assert len(step) == lanes
        for lane, rows in enumerate(step):
            assert len(rows) <= micro
            assert set(rows.tolist()) <= owned[lane]
            seen += rows.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_a_pass_has_like_lengths_a_step_has_all_and_others_meet_in_each_epoch() -> None:
    lengths = np.random.default_rng(0).integers(10, 513, 3200)
    epochs = [epoch_steps(lengths, 4, 8, seed=1, epoch=e) for e in range(2)]
    padded = sum(len(rows) * lengths[rows].max() for step in epochs[0] for rows in step)
    mixed = np.random.default_rng(1).permutation(lengths).reshape(-1, 8).max(axis=1).sum() * 8
    assert padded < 1.25 * lengths.sum() and mixed > 1.7 * lengths.sum()
    means = [np.mean(np.concatenate([lengths[rows] for rows in step])) for step in epochs[0]]
    assert np.std(means) < 0.3 * lengths.std() / np.sqrt(32)  # less than of 32 taken at random
    # Two ranks have much the same to do.
    work = [
        [sum(lengths[step[i]].sum() for i in lanes_of_rank(4, rank, 2)) for rank in range(2)]
        for step in epochs[0]
    ]
    assert sum(map(max, work)) < 1.05 * sum(map(sum, work)) / 2
    together = [{frozenset(rows.tolist()) for step in e for rows in step} for e in epochs]
    assert not together[0] & together[1]


@pytest.mark.parametrize(("lanes", "processes"), [(1, 1), (4, 1), (4, 2), (4, 4), (6, 3), (6, 2)])
def test_processes_own_all_lanes_as_many_each(lanes: int, processes: int) -> None:
    owned = [lanes_of_rank(lanes, rank, processes) for rank in range(processes)]
    assert sorted(lane for mine in owned for lane in mine) == list(range(lanes))
    assert {len(mine) for mine in owned} == {lanes // processes}


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "lanes"),
    [(32, 8, 1, 4), (32, 8, 4, 4), (32, 64, 1, 1), (16, 16, 1, 1)],
)
def test_a_batch_is_micro_batches_times_processes(
    batch: int, micro: int, processes: int, lanes: int
) -> None:
    assert lanes_of(batch, micro, processes) == lanes


@pytest.mark.parametrize(("batch", "micro", "processes"), [(32, 5, 1), (32, 8, 3), (32, 32, 2)])
def test_a_batch_that_does_not_come_out_even_is_named(
    batch: int, micro: int, processes: int
) -> None:
    with pytest.raises(UserError, match=f"batch_size {batch} is not train.micro_batch_size"):
        lanes_of(batch, micro, processes)
