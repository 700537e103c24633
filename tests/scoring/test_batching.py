from __future__ import annotations

import numpy as np
import pytest

from readmit_spark.scoring.batching import pack, pad, token_batches, token_packs

LENGTHS = np.random.default_rng(0).integers(1, 513, size=500)


@pytest.mark.parametrize("budget", [1, 100, 512, 2048, 10**9])
def test_every_chunk_is_in_one_batch_within_the_padded_budget(budget: int) -> None:
    batches = token_batches(LENGTHS, budget)
    assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
    for batch in batches:
        assert len(batch) == 1 or LENGTHS[batch].max() * len(batch) <= budget


def test_batches_hold_neighbours_in_length() -> None:
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in token_batches(LENGTHS, 4096))
    assert padded < 1.05 * LENGTHS.sum()


@pytest.mark.parametrize("budget", [1, 100, 512, 2048, 10**9])
@pytest.mark.parametrize("max_rows", [1, 7, 1000])
def test_every_chunk_is_in_one_pack_within_tokens_and_rows(budget: int, max_rows: int) -> None:
    packs = token_packs(LENGTHS, budget, max_rows)
    assert sorted(np.concatenate(packs)) == list(range(len(LENGTHS)))
    for pack_ in packs:
        assert len(pack_) <= max_rows
        assert len(pack_) == 1 or LENGTHS[pack_].sum() <= budget


def test_packs_of_real_lengths_are_full() -> None:
    random = np.random.default_rng(1)
    full, tails = random.integers(380, 513, size=820), random.integers(20, 401, size=180)
    lengths = np.concatenate([full, tails])
    *packs, _ = token_packs(lengths, 16_896, 66)  # the last holds what is left
    assert sum(lengths[pack_].sum() for pack_ in packs) > 0.98 * 16_896 * len(packs)


@pytest.mark.parametrize("group", [lambda n: token_batches(n, 8), lambda n: token_packs(n, 8, 2)])
def test_no_chunks_make_no_batches(group) -> None:
    assert group([]) == []


def test_widths_may_be_few() -> None:
    chunks = [np.arange(70), np.arange(3)]
    widths = [pad(chunks, 0, multiple, limit)[0].shape[1]
              for multiple, limit in ((1, None), (64, None), (64, 100), (64, 50))]  # fmt: skip
    assert widths == [70, 128, 100, 70]
    ids, mask = pad(chunks, 9, 64)
    assert mask.sum(1).tolist() == [70, 3] and (ids[mask == 0] == 9).all()


def test_padding_is_masked_and_tokens_are_not() -> None:
    ids, mask = pad([np.array([5, 6, 7]), np.array([8])], pad_id=99)
    assert ids.tolist() == [[5, 6, 7], [8, 99, 99]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_packed_positions_start_again_at_each_chunk() -> None:
    ids, positions, bounds = pack([np.array([5, 6, 7]), np.array([8]), np.array([9, 4])])
    assert ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert bounds.tolist() == [0, 3, 4, 6]
