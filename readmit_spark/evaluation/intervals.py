"""95 % intervals: of a rate, of a mean, and of any measure over bootstrapped patients.

All take the patients into account. Admissions of one patient resemble each other; counting them as
independent would make the intervals too narrow. The bootstrap draws patients, each with all their
admissions.

All use Student's t with the patients of the rarer outcome less one as degrees of freedom. How well
they cover the truth with 3 to 50 readmitted patients is simulated in
`tests/evaluation/test_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to import

Floats = NDArray[np.float64]

_Z = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
_TOO_FEW = "too few to say"
MIN_PATIENTS = 3  # with fewer patients of one outcome no interval covers the truth and is of use


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


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the rate hits / n, for n above 0.

    n may be an effective sample size, with hits in proportion.

    Wilson 1927, doi 10.1080/01621459.1927.10502953.

    >>> tuple(round(end, 3) for end in wilson(8, 10))
    (0.49, 0.943)
    """
    p = hits / n
    spread = _Z * float(np.sqrt(p * (1 - p) / n + (_Z / (2 * n)) ** 2))
    centre, scale = p + _Z**2 / (2 * n), 1 + _Z**2 / n
    # At rates of 0 and 1, rounding errors may lead slightly beyond 0 and 1.
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def t_quantile(df: int, error: float = 0.05) -> float:
    """Return the quantile of Student's t beyond which `error` lies on both sides together."""
    return float(stdtrit(df, 1 - error / 2))


def rarer_patients(labels: Floats, patients: NDArray[np.intp]) -> int:
    """Return the number of patients with the rarer outcome. patients: [n] codes from 0."""
    return min(len(np.unique(patients[labels == label])) for label in (0, 1))


def too_few(rarer: int) -> str | None:
    """Return why there is no interval; None if enough patients have each outcome."""
    if rarer >= MIN_PATIENTS:
        return None
    return f"{_TOO_FEW}: patients with the rarer outcome: {rarer}; {MIN_PATIENTS} are needed"


def is_too_few(measure: Mapping[str, Any]) -> bool:
    """Return whether a measure of `evaluation.metrics.evaluate` has too few patients to say more
    than its value."""
    return str(measure.get("no_interval", "")).startswith(_TOO_FEW)


def clustered_sd(influence: Floats, patients: NDArray[np.intp]) -> float:
    """Return the standard deviation of an estimate.

    influence: [n] the part of each admission in the estimate, with a sum of 0. patients: [n] codes
    from 0. Not-a-number for a single patient.
    """
    of_patient = np.bincount(patients, weights=influence)
    if len(of_patient) < 2:
        return float("nan")
    return float(np.sqrt(len(of_patient) / (len(of_patient) - 1) * (of_patient @ of_patient)))


def logit_interval(value: float, drawn: Floats, df: int, n: int) -> tuple[float, float]:
    """Return the interval of a share from its bootstrap replicates.

    It is symmetric on the logit scale. drawn: replicates without not-a-number, at least two. n: the
    admissions; values of 0 and 1 are moved by half an admission, because their logit is infinite.
    """

    def logit(share: Any) -> Any:
        inside = np.clip(share, 0.5 / n, 1 - 0.5 / n)
        return np.log(inside / (1 - inside))

    spread = t_quantile(df) * float(logit(drawn).std(ddof=1))
    low, high = (1 / (1 + np.exp(-(logit(value) + sign * spread))) for sign in (-1, 1))
    return float(low), float(high)
