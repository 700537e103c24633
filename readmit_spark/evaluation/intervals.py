"""95 % intervals: of a rate, and of any measure over bootstrapped patients.

The bootstrap draws patients, each with all their admissions. Admissions of one patient resemble
each other; drawing single admissions would make the intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_Z = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def bootstrap_weights(
    codes: NDArray[np.intp], n_patients: int, replicates: int, seed: int
) -> Iterator[Floats]:
    """Yield for each replicate the weights [n]: how often each admission's patient was drawn.

    Yields nothing for a single patient: an interval of width 0 would look like certainty.
    """
    rng = np.random.default_rng(seed)
    for _ in range(replicates if n_patients > 1 else 0):
        drawn = rng.integers(n_patients, size=n_patients)
        yield np.bincount(drawn, minlength=n_patients)[codes].astype(np.float64)


def interval(drawn: Floats) -> dict[str, Any]:
    """Return the 95 % percentile interval (low, high) and the number of replicates it rests on.

    Replicates that are not-a-number are ignored. low and high are None if no other is left.
    """
    defined = drawn[~np.isnan(drawn)]
    if defined.size == 0:
        return {"low": None, "high": None, "replicates": 0}
    low, high = np.percentile(defined, (2.5, 97.5))
    return {"low": float(low), "high": float(high), "replicates": int(defined.size)}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the rate hits / n, for n of at least 1.

    Wilson 1927, doi 10.1080/01621459.1927.10502953.

    >>> tuple(round(end, 3) for end in wilson(8, 10))
    (0.49, 0.943)
    """
    p = hits / n
    spread = _Z * float(np.sqrt(p * (1 - p) / n + (_Z / (2 * n)) ** 2))
    centre, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
    # At rates of 0 and 1, rounding errors may lead slightly beyond 0 and 1.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
