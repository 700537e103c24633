"""Control charts of what came of the scores, once it is known.

A readmission shows within days and its absence only after thirty, so among recent discharges the
outcomes known so far are the bad ones. Only stays whose thirty days have passed are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom

from readmit_spark.nightly.control_charts import Chart, Rules, Table
from readmit_spark.nightly.drift import NumberBins

_LEAST = 10  # of each class, below which no test is made
_GROUPS = 10
_PRIOR = 0.5  # Jeffreys'

Limits = tuple[float, float, float]  # value, low, high
Test: TypeAlias = Callable[[Table, Table, float], Limits | None]  # reference, block, level


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve and the variance of its estimate."""

    value: float
    variance: float


def auroc(scores: ArrayLike, labels: ArrayLike) -> Auroc:
    """The share of (positive, negative) pairs with the positive's score higher, ties half, and its
    variance (DeLong, DeLong and Clarke-Pearson 1988, doi 10.2307/2531595). Both classes at least
    twice.

    >>> auroc([0.9, 0.6, 0.7, 0.2], [1, 1, 0, 0]).value
    0.75
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    positive, negative = np.sort(s[y == 1]), np.sort(s[y == 0])
    beaten = (
        np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    ) / (2 * len(negative))
    beating = 1 - (
        np.searchsorted(positive, negative, "left") + np.searchsorted(positive, negative, "right")
    ) / (2 * len(positive))
    variance = beaten.var(ddof=1) / len(positive) + beating.var(ddof=1) / len(negative)
    return Auroc(float(beaten.mean()), float(variance))


def outcome_charts(
    outcomes: Table, nights: Sequence[datetime], rules: Rules, horizon_days: float
) -> list[Chart]:
    """Charts of AUROC, calibration and alert precision over the stays whose outcome became known in
    as many nights, up to each, as the reference has.

    outcomes: score, alerted, label, dischtime; one row a stay. The reference are the stays that
    left during the reference nights. A quiet value passes its limits with a probability of
    `rules.level`; what the reference itself is unsure of is in them. Stays count as independent,
    though a patient may have several.
    """
    settled = outcomes.dischtime + timedelta(days=horizon_days)
    known_at = np.searchsorted(np.array(nights, dtype="datetime64[us]"), settled.to_numpy())
    n_reference = min(rules.reference_nights, len(nights))
    last = nights[n_reference - 1] if n_reference else datetime.min
    in_reference = (outcomes.dischtime <= last).to_numpy()
    # Nothing is tested before the whole reference is known.
    from_night = int(known_at[in_reference].max()) if in_reference.any() else len(nights)
    tests: dict[str, Test] = {
        "auroc": _auroc_limits,
        "calibration": _calibration_limits,
        "alert_precision": _precision_limits,
    }
    reference = outcomes[in_reference & (known_at < len(nights))]
    blocks = [
        outcomes[~in_reference & (known_at <= t) & (known_at > t - n_reference)]
        if t >= from_night
        else outcomes[:0]
        for t in range(len(nights))
    ]
    return [
        _chart(name, test, reference, blocks, nights, n_reference, rules.level)
        for name, test in tests.items()
    ]


def _chart(
    name: str,
    test: Test,
    reference: Table,
    blocks: Sequence[Table],
    nights: Sequence[datetime],
    span: int,
    level: float,
) -> Chart:
    found = np.full((len(nights), 3), np.nan)
    for t, block in enumerate(blocks):
        limits = test(reference, block, level) if _enough(reference) and _enough(block) else None
        if limits:
            found[t] = limits
    value, low, high = found.T
    at = test(reference, reference, level) if _enough(reference) else None
    return Chart(
        name, span, nights, value, low, high, value, at[0] if at else float("nan"),
        np.array([len(block) for block in blocks], dtype=np.int64),
    )  # fmt: skip


def _enough(stays: Table) -> bool:
    positives = int(stays.label.sum())
    return min(positives, len(stays) - positives) >= _LEAST


def _auroc_limits(reference: Table, block: Table, level: float) -> Limits:
    """Normal limits on the logit scale (Pepe 2003, The Statistical Evaluation of Medical Tests,
    5.2.5): on AUROC's own, small samples pass them three times as often as they should."""
    (_, centre, its), (value, _, mine) = _logit(reference), _logit(block)
    spread = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(its + mine)
    return value, _expit(centre - spread), _expit(centre + spread)


def _logit(stays: Table) -> tuple[float, float, float]:
    """The AUROC, its logit, half a pair from 0 and 1, where it would be infinite, and the logit's
    variance."""
    found = auroc(stays.score.to_numpy(), stays.label.to_numpy())
    positives = int(stays.label.sum())
    pairs = positives * (len(stays) - positives)
    inside = min(max(found.value, 0.5 / pairs), 1 - 0.5 / pairs)
    chance = inside * (1 - inside)
    variance = max(found.variance, chance / pairs) / chance**2
    return found.value, math.log(inside / (1 - inside)), variance


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _calibration_limits(reference: Table, block: Table, level: float) -> Limits:
    """Observed readmissions over those expected at the reference's rates, score group by group."""
    bins = NumberBins.of(reference.score.to_numpy(), _GROUPS)
    size = bins.count(reference.score.to_numpy())
    hits = bins.count(reference.score[reference.label == 1].to_numpy())
    now = bins.count(block.score.to_numpy())
    expected = float((now * (hits + _PRIOR) / (size + 2 * _PRIOR)).sum())
    low, high = _count_limits(hits, size, now, level)
    return float(block.label.sum()) / expected, low / expected, high / expected


def _precision_limits(reference: Table, block: Table, level: float) -> Limits | None:
    then, now = reference[reference.alerted], block[block.alerted]
    if min(len(then), len(now)) < _LEAST:
        return None
    low, high = _count_limits([then.label.sum()], [len(then)], [len(now)], level)
    return float(now.label.mean()), low / len(now), high / len(now)


def _count_limits(
    hits: ArrayLike, size: ArrayLike, now: ArrayLike, level: float
) -> tuple[int, int]:
    """What the number of hits among `now` [groups] stays is below, and is above, with at most half
    of `level` each, after `hits` among `size` [groups] of the reference.

    Each group's number is beta-binomial (Jeffreys' prior), their sum the convolution.
    """
    sums = np.ones(1)
    for a, n, m in zip(np.asarray(hits), np.asarray(size), np.asarray(now), strict=True):
        mine = betabinom.pmf(np.arange(m + 1), m, a + _PRIOR, n - a + _PRIOR)
        sums = np.convolve(sums, mine)
    below, above = np.cumsum(sums), np.cumsum(sums[::-1])[::-1]
    return int((below <= level / 2).sum()), len(sums) - 1 - int((above <= level / 2).sum())
