from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.errors import UserError
from readmit_spark.training.schedule import assign_to_lanes, count_lanes, epoch_steps


@given(
    st.lists(st.integers(2, 512), min_size=8, max_size=300),
    st.sampled_from([(1, 8), (2, 4), (4, 2), (8, 1)]),
    st.integers(0, 3),
    st.booleans(),
)
def test_an_epoch_takes_every_row_once_in_its_own_lane(
    lengths: list[int], shape: tuple[int, int], epoch: int, by_length: bool
) -> None:
    lanes, micro = shape
    sizes = np.array(lengths)
    owned = [set(rows.tolist()) for rows in assign_to_lanes(sizes, lanes)]
    assert max(map(len, owned)) - min(map(len, owned)) <= 1
    steps = epoch_steps(sizes, lanes, micro, 3, epoch, by_length)
    assert len(steps) == math.ceil(math.ceil(len(lengths) / lanes) / micro)
    taken: list[int] = []
    for step in steps:
        assert len(step) == lanes
        for lane, rows in enumerate(step):
            assert len(rows) <= micro
            assert set(rows.tolist()) <= owned[lane]
            taken += rows.tolist()
    assert sorted(taken) == list(range(len(lengths)))


def test_steps_have_rows_of_similar_length_that_change_each_epoch() -> None:
    lengths = np.random.default_rng(0).integers(10, 513, 3200)
    epochs = [epoch_steps(lengths, 4, 8, seed=1, epoch=e) for e in range(2)]
    padded = sum(len(rows) * lengths[rows].max() for step in epochs[0] for rows in step)
    assert padded < 1.05 * lengths.sum()
    mixed = epoch_steps(lengths, 4, 8, seed=1, epoch=0, by_length=False)
    assert sum(len(rows) * lengths[rows].max() for step in mixed for rows in step) > 1.5 * padded
    # All lanes of a step have about the same work.
    widest = sum(max(lengths[rows].sum() for rows in step) for step in epochs[0])
    assert widest < 1.1 * sum(lengths[rows].sum() for step in epochs[0] for rows in step) / 4
    together = [{frozenset(rows.tolist()) for step in e for rows in step} for e in epochs]
    assert not together[0] & together[1]


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "lanes"),
    [(32, 8, 1, 4), (32, 8, 4, 4), (32, 64, 1, 1), (16, 16, 1, 1)],
)
def test_lanes_are_the_micro_batches_of_a_batch(
    batch: int, micro: int, processes: int, lanes: int
) -> None:
    assert count_lanes(batch, micro, processes) == lanes


@pytest.mark.parametrize(("batch", "micro", "processes"), [(32, 5, 1), (32, 8, 3), (32, 32, 2)])
def test_a_batch_that_does_not_divide_evenly_is_refused(
    batch: int, micro: int, processes: int
) -> None:
    with pytest.raises(UserError, match=f"batch_size {batch} is not a multiple of train"):
        count_lanes(batch, micro, processes)
