"""The stability index against its definition, and its limits against exact probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from readmit_spark.nightly.drift import (
    NameBins,
    NumberBins,
    chance_limit,
    dispersion,
    psi,
    widening_factor,
)


def test_the_index_is_the_sum_of_both_divergences() -> None:
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
def test_a_limit_is_exceeded_with_the_stated_probability(
    reference: tuple[int, int], n: int
) -> None:
    """With two bins tonight's count is beta-binomial, so its probabilities are known exactly."""
    level = 1e-3
    limit = chance_limit(reference, n, level)
    k = np.arange(n + 1)
    chance = stats.betabinom.pmf(k, n, reference[1] + 0.5, reference[0] + 0.5)
    index = psi(reference, np.stack([n - k, k], axis=1))
    assert chance[index > limit].sum() <= 1.2 * level
    assert chance[index >= limit].sum() >= level / 10


def test_a_limit_of_more_bins_agrees_with_a_second_simulation() -> None:
    reference = np.array([400, 300, 200, 90, 10])
    limit = chance_limit(reference, 60, 2e-3)
    rng = np.random.default_rng(5)
    shares = rng.dirichlet(reference + 0.5, size=100_000)
    passed = (psi(reference, rng.multinomial(60, shares)) > limit).mean()
    assert 0.2e-3 < passed < 2.4e-3


def test_one_admission_in_an_empty_bin_is_no_alarm() -> None:
    """None of 1,000 reference admissions lost tokens; tonight 1 of 40, or 4 of 40, lose some."""
    limit = chance_limit([1000, 0], 40, 1e-4)
    assert psi([1000, 0], [39, 1]) <= limit < psi([1000, 0], [36, 4])


def test_dispersion_is_pearsons_chi_square_a_degree_of_freedom() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet([3, 3, 3], size=25)
    counts = np.array([rng.multinomial(40, row) for row in shares])
    test = stats.chi2_contingency(counts)
    assert dispersion(counts) == pytest.approx(test.statistic / test.dof)
    assert dispersion(counts) > 2
    even = np.tile([10, 20, 30], (25, 1))
    assert dispersion(even) == pytest.approx(0.0) and widening_factor(even, 1e-3) == 1.0
    assert dispersion([[3, 4]]) == widening_factor([[3, 4]], 1e-3) == 1.0


def test_limits_allow_for_the_error_of_the_dispersion() -> None:
    """The ratio of two drawn chi-squares, each divided by its degrees of freedom."""
    rng = np.random.default_rng(3)
    counts = np.array([rng.multinomial(40, row) for row in rng.dirichlet([3, 3, 3], size=15)])
    limit = stats.chi2.isf(1e-3, 2) * widening_factor(counts, 1e-3) / dispersion(counts)
    drawn = rng.chisquare(2, 1_000_000) / (rng.chisquare(28, 1_000_000) / 28)
    assert (drawn > limit).mean() == pytest.approx(1e-3, rel=0.15)


@pytest.mark.parametrize("phi", [1.0, 1.5, 2.0])
def test_overdispersed_nights_exceed_their_limits_with_the_stated_probability(
    phi: float,
) -> None:
    """2,000 hospitals with 12 new admissions a night in two bins, whose shares vary by night.

    28 reference nights and 100 more, tested singly and in blocks of seven.
    """
    level, each, n_hospitals = 0.05 / 1500, 200, 2000
    alarmed = 0
    for seed in range(n_hospitals):
        rng = np.random.default_rng([4, seed])
        size = rng.poisson(12, 128)
        half = (11 / (phi - 1) - 1) / 2 if phi > 1 else np.inf
        hits = rng.binomial(size, rng.beta(half, half, 128) if phi > 1 else 0.5)
        nights = np.stack([size - hits, hits], axis=1)
        reference, spread = nights[:28].sum(axis=0), widening_factor(nights[:28], level)
        upto = np.vstack([np.zeros((1, 2), dtype=np.int64), nights[28:].cumsum(axis=0)])
        blocks = np.vstack([nights[28:], upto[1:] - upto[np.maximum(np.arange(1, 101) - 7, 0)]])
        index = psi(reference, blocks)
        n = blocks.sum(axis=1)
        far = index > spread * 6 / n.clip(
            1
        )  # every limit is above 6 / n: the one of chi-square is 17 / n
        limits = {size: exact_limit(reference, size, level) for size in set(n[far])}
        beyond = np.array([limits[size] for size in n[far]])
        alarmed += bool((index[far] > spread * beyond).any())
    assert alarmed <= stats.binom.isf(0.01, n_hospitals, each * level)


def exact_limit(reference: np.ndarray, n: int, level: float) -> float:
    """Return the smallest index that `n` units in two bins exceed with probability <= `level`."""
    k = np.arange(n + 1)
    chance = stats.betabinom.pmf(k, n, reference[1] + 0.5, reference[0] + 0.5)
    index = psi(reference, np.stack([n - k, k], axis=1))
    order = np.argsort(-index)
    return float(index[order][np.searchsorted(chance[order].cumsum(), level, "right")])


def test_the_limit_of_a_size_that_is_not_simulated_is_not_too_low() -> None:
    reference = (600, 300, 100)
    for n in (33, 45, 66):
        rng = np.random.default_rng(n)
        drawn = rng.multinomial(n, rng.dirichlet(np.array(reference) + 0.5, size=100_000))
        passed = (psi(reference, drawn) > chance_limit(reference, n, 2e-3)).mean()
        assert 0.2e-3 < passed < 2.4e-3


def test_every_number_is_in_one_bin() -> None:
    values = np.array([0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, np.nan])
    bins = NumberBins.of(values, 5)
    assert bins.edges == (0.0, 0.1, 0.3)
    assert bins.count(values).tolist() == [5, 1, 2, 1]
    assert bins.count([-1, 0.1, 0.11, 99, np.nan]).tolist() == [1, 1, 1, 1]
    assert NumberBins.of([2, 2, 2], 4).count([1, 2, 2, 3]).tolist() == [1, 2, 1]
    assert NumberBins.of([np.nan], 4).count([1, 2]).tolist() == [2]
    even = np.random.default_rng(0).random(1000)
    assert set(NumberBins.of(even, 10).count(even).tolist()) <= {99, 100, 101}


def test_bins_around_a_frequent_value_show_how_much_others_differ() -> None:
    """Token losses: none, little and much; values are from 0 to 1."""
    values = np.array([0.0] * 96 + [0.02, 0.03, 0.04, 0.5])
    bins = NumberBins.of(values, 4, 0, 1)
    assert bins.count(values).tolist() == [96, 2, 2]
    assert bins.count([0, 0.01, 0.03, 0.04, 1]).tolist() == [1, 2, 2]
    # As many admissions with a loss, but a larger loss: above the limit.
    reference, n = bins.count(values) * 20, 400
    more = bins.count(np.array([0.0] * 384 + [0.5] * 16))
    assert psi(reference, more) > chance_limit(reference, n, 1e-3)
    assert psi(reference, bins.count(np.tile(values, 4))) < 1e-3
    both = NumberBins.of([1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 6], 2)
    assert both.count(range(1, 9)).tolist() == [2, 1, 1, 1, 3]


def test_no_bin_lies_outside_the_possible_values() -> None:
    unscored = np.array([0] * 99 + [1])
    assert NumberBins.of(unscored, 4, 0, 1).count(unscored).tolist() == [99, 1]
    assert NumberBins.of(1 - unscored, 4, 0, 1).count(unscored).tolist() == [99, 1]
    assert NumberBins.of([0, 0], 4, 0, 1).count([0, 0.5]).tolist() == [1, 1]
    assert NumberBins.of([0, 0], 4, 0).count([0, 9]).tolist() == [1, 1]
    half = np.arange(1, 101) / 100
    assert NumberBins.of(half, 2, 0, 1).count(half).tolist() == [50, 50]


def test_bins_of_names_keep_the_frequent_ones() -> None:
    bins = NameBins.of(["b", "a", "a", "c", "b", "a", "d"], 3)
    assert bins.names == ("a", "b")
    assert bins.count(["a", "new", "d", "b"]).tolist() == [1, 1, 2]
    assert bins.count([]).tolist() == [0, 0, 0]
