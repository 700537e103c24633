"""The patient score against exact arithmetic, and its properties for any chunks."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.evaluation.vote import contributions, vote_score

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=60)
scale = st.floats(0.01, 100)


def exact(values: list[float], c: float) -> Fraction:
    p, n, c_ = [Fraction(v) for v in values], len(values), Fraction(c)
    return (max(p) + sum(p) / n * (n / c_)) / (1 + n / c_)


@given(probabilities, scale)
def test_score_is_the_published_formula(values: list[float], c: float) -> None:
    assert abs(Fraction(vote_score(values, c)) - exact(values, c)) < 1e-12


def test_a_worked_example() -> None:
    # n = 3, max 0.9, mean 0.5, n/c = 1.5: (0.9 + 0.75) / 2.5
    assert vote_score([0.1, 0.5, 0.9]) == pytest.approx(0.66, abs=1e-15)


def test_c_is_2_by_default() -> None:
    assert vote_score([0.1, 0.9]) == vote_score([0.1, 0.9], c=2.0) != vote_score([0.1, 0.9], c=1.0)


@given(probabilities, scale)
def test_score_lies_between_mean_and_maximum(values: list[float], c: float) -> None:
    score = vote_score(values, c)
    assert sum(values) / len(values) - 1e-12 <= score <= max(values) + 1e-12
    assert 0 <= score <= 1


@given(probabilities.flatmap(lambda v: st.tuples(st.just(v), st.permutations(v))))
def test_order_of_chunks_does_not_matter_to_the_last_bit(
    pair: tuple[list[float], list[float]],
) -> None:
    assert vote_score(pair[0]) == vote_score(pair[1])


def test_an_admission_without_chunks_has_no_score() -> None:
    with pytest.raises(ValueError, match="without chunks"):
        vote_score([])


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_number_that_is_no_probability_is_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        vote_score([0.5, bad])


@pytest.mark.parametrize("c", [0.0, -1.0, float("nan")])
def test_c_must_be_above_zero(c: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        vote_score([0.5], c)


@given(probabilities, scale)
def test_the_contributions_sum_to_the_score(values: list[float], c: float) -> None:
    parts = contributions(values, c)
    assert sum(parts) == pytest.approx(vote_score(values, c), abs=1e-12)
    assert all(part >= 0 for part in parts)
    # Beyond its own p / c, only the chunk with the maximum contributes: the maximum.
    divisor = 1 + len(values) / c
    beyond = [part * divisor - p / c for part, p in zip(parts, values, strict=True)]
    top = values.index(max(values))
    assert beyond[top] == pytest.approx(max(values), abs=1e-9)
    assert [b for i, b in enumerate(beyond) if i != top] == pytest.approx(
        [0.0] * (len(values) - 1), abs=1e-9
    )
