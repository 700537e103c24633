"""Has a distribution moved? The population stability index, and what chance alone makes of it.

Everything rests on counts of independent units in fixed bins: [bins] of a reference and of tonight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, f

Floats = NDArray[np.float64]

_PRIOR = 0.5  # a unit for each bin (Jeffreys): a bin that the reference never filled is not zero
# Of the draws ten are expected beyond the true limit; the fifth largest is below it in 3 of 100.
_BEYOND, _TAKEN = 10, 5


def psi(reference: ArrayLike, counts: ArrayLike) -> Any:
    """Population stability index: the sum over bins of (q - p) ln(q / p).

    p and q: the shares of `reference` [bins] and `counts` [..., bins], half a unit added to each
    bin, so that an empty one gives no infinity. 0 where the shares are equal. (The symmetrised
    divergence of Jeffreys 1946; as an index of drift e.g. Siddiqi, Credit Risk Scorecards, 2006.)

    >>> round(float(psi([50, 50], [20, 80])), 3)
    0.402
    """
    p, q = _shares(reference), _shares(counts)
    return ((q - p) * np.log(q / p)).sum(axis=-1)


def chance_limit(reference: ArrayLike, n: int, level: float, seed: int = 0) -> float:
    """The PSI that `n` units of the reference's own distribution pass with probability `level`.

    Simulated, as the chi-square approximation is off in the tail where bins hold a few units. What
    the distribution is, the reference tells only so far: each draw takes shares from its posterior
    (Dirichlet, reference + 1/2) and tonight's counts from those. Simulated are some sizes, in steps
    of a quarter; between two, limit / (1/n + 1/m) for a reference of m hardly changes, and the
    larger one is taken. What simulation itself is unsure of goes the same way: the probability is
    above `level` in 3 % of simulations.

    >>> limit = chance_limit([300, 700], 40, 0.01)
    >>> bool(psi([300, 700], [12, 28]) < limit < psi([300, 700], [24, 16]))
    True
    """
    counts = tuple(int(count) for count in np.asarray(reference))
    rate = max(_simulated(counts, size, level, seed) / _scale(size, counts) for size in _sizes(n))
    return rate * _scale(n, counts)


def _sizes(n: int) -> list[int]:
    """The simulated sizes nearest to `n`, below and above, or `n` alone where it is one."""
    sizes = [1]
    while sizes[-1] < n:
        sizes.append(max(sizes[-1] + 1, 5 * sizes[-1] // 4))
    return sizes[-1:] if sizes[-1] == n else sizes[-2:]


def _scale(n: int, counts: tuple[int, ...]) -> float:
    return 1 / n + 1 / max(1, sum(counts))


@lru_cache(maxsize=4096)
def _simulated(counts: tuple[int, ...], n: int, level: float, seed: int) -> float:
    draws = math.ceil(_BEYOND / level)
    rng = np.random.default_rng([seed, n])
    found = []
    for size in _parts(draws, 100_000):
        weights = rng.standard_gamma(np.array(counts) + _PRIOR, size=(size, len(counts)))
        shares = weights / weights.sum(axis=1, keepdims=True)
        found.append(psi(counts, rng.multinomial(n, shares)))
    every = np.concatenate(found)
    return float(np.partition(every, -_TAKEN)[-_TAKEN])


def widening(nights: ArrayLike, level: float) -> float:
    """What a limit that chance alone passes with probability `level` is multiplied by, so that
    nights which differ as those of `nights` [nights, bins] do pass it no more often; at least 1.

    Weekdays and outbreaks are more than chance; limits are widened by the `dispersion`, as Laney's
    p' chart widens a p chart (Laney 2002, doi 10.1081/QEN-120006708). It is an estimate itself,
    and what it may be too low by counts far out in the tail: the quantile is F's, not chi-square's.
    That takes X² for chi-square distributed, which it is not where a bin has less than a unit a
    night and those come in clusters: such a bin passes its limit more often.
    """
    counts = _filled(nights)
    bins, freedom = counts.shape[1] - 1, _freedom(counts)
    if freedom < 1:
        return 1.0
    unsure: float = float(f.isf(level, bins, freedom)) * bins / float(chi2.isf(level, bins))
    return max(1.0, dispersion(counts) * unsure)


def dispersion(nights: ArrayLike) -> float:
    """How much the nights' counts [nights, bins] differ among themselves, 1 being what chance makes
    of it: Pearson's X² over its degrees of freedom; 1 where there are none."""
    counts = _filled(nights)
    freedom = _freedom(counts)
    if freedom < 1:
        return 1.0
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    return float(((counts - expected) ** 2 / expected).sum() / freedom)


def _filled(nights: ArrayLike) -> Floats:
    """The nights and the bins that hold anything."""
    counts: Floats = np.asarray(nights, dtype=np.float64)
    filled: Floats = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    return filled


def _freedom(counts: Floats) -> int:
    """Of X² of counts [nights, bins]: 0 where a table of one row or column, or none, has no X²."""
    return (counts.shape[0] - 1) * (counts.shape[1] - 1) if counts.size else 0


@dataclass(frozen=True)
class NumberBins:
    """Bins of a number: bin i holds values above edges[i - 1] and up to edges[i]."""

    edges: tuple[float, ...]

    @classmethod
    def of(
        cls, values: ArrayLike, most: int, least: float = -math.inf, greatest: float = math.inf
    ) -> NumberBins:
        """At most `most` bins, of about as many reference values each; a number that occurs often
        makes fewer. least, greatest: no value is beyond them.

        Where nearly all have one value, it has a bin of its own, and those below and above have
        two each, parted by their median: so not only how many lie elsewhere is seen, but also how
        far. That may make five bins where `most` is less.
        """
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        if known.size == 0:
            return cls(())
        ranks = np.linspace(0, 1, most + 1)[1:-1]
        edges = np.unique(np.quantile(known, ranks, method="inverted_cdf"))
        centre = np.quantile(known, 0.5, method="inverted_cdf")
        if 2 * (known == centre).sum() > known.size:
            around = [np.nextafter(centre, -np.inf), centre]
            around += _half(known[known < centre]) + _half(known[known > centre])
            # What lies elsewhere may be so much that tenths part it better.
            edges = max(edges, np.unique(around), key=len)
        return cls(tuple(edges[(edges >= least) & (edges < greatest)].tolist()))

    def count(self, values: ArrayLike) -> NDArray[np.int64]:
        """How many of the values each bin holds; not-a-number is in none."""
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        size = len(self.edges) + 1
        return np.bincount(np.searchsorted(self.edges, known), minlength=size)


@dataclass(frozen=True)
class NameBins:
    """Bins of names: the most frequent of the reference have one each, others share the last."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str], most: int) -> NameBins:
        names, counts = np.unique(np.asarray(values, dtype=str), return_counts=True)
        order = np.lexsort((names, -counts))[: most - 1]
        return cls(tuple(str(name) for name in names[order]))

    def count(self, values: Sequence[str]) -> NDArray[np.int64]:
        place = {name: i for i, name in enumerate(self.names)}
        rest = len(self.names)
        found = [place.get(str(value), rest) for value in values]
        return np.bincount(np.array(found, dtype=np.int64), minlength=rest + 1)


def _half(values: Floats) -> list[float]:
    """The edge that halves them, if there is something on both sides."""
    if values.size == 0:
        return []
    edge = float(np.quantile(values, 0.5, method="inverted_cdf"))
    return [edge] if edge < values.max() else []


def _shares(counts: ArrayLike) -> Floats:
    padded: Floats = np.asarray(counts, dtype=np.float64) + _PRIOR
    shares: Floats = padded / padded.sum(axis=-1, keepdims=True)
    return shares


def _parts(whole: int, most: int) -> list[int]:
    return [min(most, whole - at) for at in range(0, whole, most)]
