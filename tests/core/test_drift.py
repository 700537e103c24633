"""The stability index against its definition, and its limits against exact probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from readmit_spark.core.drift import (
    NameBins,
    NumberBins,
    chance_limit,
    dispersion,
    psi,
)


def test_the_index_is_the_two_divergences_added() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        reference, tonight = rng.integers(0, 60, size=(2, 7))
        p, q = (reference + 0.5) / (reference + 0.5).sum(), (tonight + 0.5) / (tonight + 0.5).sum()
        both = stats.entropy(q, p) + stats.entropy(p, q)
        assert psi(reference, tonight) == pytest.approx(both, abs=1e-12)
    assert psi([10, 30], [10, 30]) == 0.0
    assert psi([100, 0], [0, 50]) < np.inf


@pytest.mark.parametrize("reference", [(700, 300), (990, 10), (1000, 0)])
@pytest.mark.parametrize("n", [8, 63])  # sizes that are simulated
def test_a_limit_is_passed_as_often_as_it_says(reference: tuple[int, int], n: int) -> None:
    """With two bins tonight's count is beta-binomial, and every probability can be added up."""
    level = 1e-3
    limit = chance_limit(reference, n, level)
    k = np.arange(n + 1)
    chance = stats.betabinom.pmf(k, n, reference[1] + 0.5, reference[0] + 0.5)
    index = psi(reference, np.stack([n - k, k], axis=1))
    assert chance[index > limit].sum() <= 1.2 * level
    assert chance[index >= limit].sum() >= level / 10


def test_more_bins_are_held_to_a_second_simulation() -> None:
    reference = np.array([400, 300, 200, 90, 10])
    limit = chance_limit(reference, 60, 2e-3)
    rng = np.random.default_rng(5)
    shares = rng.dirichlet(reference + 0.5, size=100_000)
    passed = (psi(reference, rng.multinomial(60, shares)) > limit).mean()
    assert 0.2e-3 < passed < 2.4e-3


def test_a_bin_that_was_never_filled_needs_more_than_one_stay() -> None:
    """Of 1,000 stays none lost a token. One that does is chance; a tenth of tonight's is not."""
    limit = chance_limit([1000, 0], 40, 1e-4)
    assert psi([1000, 0], [39, 1]) <= limit < psi([1000, 0], [36, 4])


def test_dispersion_is_pearsons_chi_square_a_degree_of_freedom() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet([3, 3, 3], size=25)
    counts = np.array([rng.multinomial(40, row) for row in shares])
    found = stats.chi2_contingency(counts)
    assert dispersion(counts) == pytest.approx(found.statistic / found.dof)
    assert dispersion(counts) > 2
    even = np.tile([10, 20, 30], (25, 1))
    assert dispersion(even) == 1.0
    assert dispersion([[3, 4]]) == 1.0


def test_a_size_between_the_simulated_ones_errs_towards_silence() -> None:
    reference = (600, 300, 100)
    for n in (33, 45, 66):
        rng = np.random.default_rng(n)
        drawn = rng.multinomial(n, rng.dirichlet(np.array(reference) + 0.5, size=100_000))
        passed = (psi(reference, drawn) > chance_limit(reference, n, 2e-3)).mean()
        assert 0.2e-3 < passed < 2.4e-3


def test_bins_of_numbers_hold_every_number_once() -> None:
    values = np.array([0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, np.nan])
    bins = NumberBins.of(values, 5)
    assert bins.edges == (0.0, 0.1, 0.3)
    assert bins.count(values).tolist() == [5, 1, 2, 1]
    assert bins.count([-1, 0.1, 0.11, 99, np.nan]).tolist() == [1, 1, 1, 1]
    assert NumberBins.of([2, 2, 2], 4).count([1, 2, 2, 3]).tolist() == [1, 2, 1]
    assert NumberBins.of([np.nan], 4).count([1, 2]).tolist() == [2]
    even = np.random.default_rng(0).random(1000)
    assert set(NumberBins.of(even, 10).count(even).tolist()) <= {99, 100, 101}


def test_bins_of_names_keep_the_frequent_ones() -> None:
    bins = NameBins.of(["b", "a", "a", "c", "b", "a", "d"], 3)
    assert bins.names == ("a", "b")
    assert bins.count(["a", "new", "d", "b"]).tolist() == [1, 1, 2]
    assert bins.count([]).tolist() == [0, 0, 0]
