"""Balanced samples against a plain loop."""

from __future__ import annotations

from hashlib import md5

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.evaluation.balance import balance, training_sample

admissions = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 1), st.integers(0, 9)),
    max_size=40,
    unique_by=lambda row: row[0],
)


def plain(rows: list[tuple[int, int, int]], seed: int, by_chunks: bool) -> set[int]:
    positives = [row for row in rows if row[1]]
    negatives = sorted(
        (row for row in rows if not row[1]),
        key=lambda row: md5(f"{seed}:{row[0]}".encode()).hexdigest(),
    )
    kept = negatives[: len(positives)]
    while by_chunks and len(kept) < len(negatives):
        if sum(r[2] for r in kept) >= sum(r[2] for r in positives):
            break
        kept.append(negatives[len(kept)])
    return {row[0] for row in positives + kept}


def columns(rows: list[tuple[int, int, int]]) -> list[list[int]]:
    return [[row[i] for row in rows] for i in range(3)]


@given(admissions, st.integers(0, 5))
def test_balance_keeps_the_first_negatives_by_hash(
    rows: list[tuple[int, int, int]], seed: int
) -> None:
    ids, labels, _ = columns(rows)
    mask = balance(ids, labels, seed)
    assert set(np.array(ids, dtype=int)[mask]) == plain(rows, seed, by_chunks=False)


@given(admissions, st.integers(0, 5))
def test_training_sample_adds_negatives_until_chunks_are_balanced(
    rows: list[tuple[int, int, int]], seed: int
) -> None:
    ids, labels, chunks = columns(rows)
    mask = training_sample(ids, labels, chunks, seed)
    assert set(np.array(ids, dtype=int)[mask]) == plain(rows, seed, by_chunks=True)


def test_there_are_never_fewer_negatives_than_positives() -> None:
    mask = training_sample([1, 2, 3, 4, 5], [1, 1, 0, 0, 0], [1, 1, 9, 9, 9], seed=0)
    assert mask.tolist()[:2] == [True, True]
    assert mask.sum() == 4


def test_fewer_negatives_than_positives_changes_nothing() -> None:
    assert balance([1, 2, 3], [1, 1, 0], seed=3).all()


def test_without_a_positive_no_negative_is_kept() -> None:
    assert not balance([1, 2], [0, 0], seed=0).any()


def test_the_choice_does_not_depend_on_the_order_of_rows() -> None:
    ids = np.arange(100)
    labels = (ids % 5 == 0).astype(int)
    shuffled = np.random.default_rng(0).permutation(100)
    again = balance(ids[shuffled], labels[shuffled], seed=1)
    assert set(ids[balance(ids, labels, seed=1)]) == set(ids[shuffled][again])


def test_another_seed_chooses_others() -> None:
    ids, labels = range(200), [1] * 50 + [0] * 150
    assert (balance(ids, labels, seed=0) != balance(ids, labels, seed=1)).any()


def test_unknown_labels_and_odd_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        balance([1, 2], [0, np.nan], seed=0)
    with pytest.raises(ValueError, match="do not match"):
        balance([1, 2], [0], seed=0)
    with pytest.raises(ValueError, match="chunk counts"):
        training_sample([1, 2], [0, 1], [1], seed=0)
