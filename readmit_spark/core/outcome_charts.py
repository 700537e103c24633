"""Control charts of what came of the scores, once it is known.

A readmission shows within days and its absence only after thirty, so among recent discharges the
outcomes known so far are the bad ones. Only stays whose thirty days have passed are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.core.drift import Floats, NumberBins
from readmit_spark.core.monitor import Chart, Rules, Table

_LEAST = 10  # of each class, below which no test is made
_GROUPS = 10

Limits = tuple[float, float, float]  # value, low, high


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
    left during the reference nights. Limits are normal ones at `rules.level`, for the difference of
    two samples; stays count as independent, though a patient may have several.
    """
    settled = outcomes.dischtime + timedelta(days=horizon_days)
    known_at = np.searchsorted(np.array(nights, dtype="datetime64[us]"), settled.to_numpy())
    n_reference = min(rules.reference_nights, len(nights))
    last = nights[n_reference - 1] if n_reference else datetime.min
    in_reference = (outcomes.dischtime <= last).to_numpy()
    z = NormalDist().inv_cdf(1 - rules.level / 2)
    # Nothing is tested before the whole reference is known.
    from_night = int(known_at[in_reference].max()) if in_reference.any() else len(nights)
    tests: dict[str, Callable[[Table, Table, float], Limits | None]] = {
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
        _chart(name, test, reference, blocks, nights, n_reference, z)
        for name, test in tests.items()
    ]


def _chart(
    name: str,
    test: Callable[[Table, Table, float], Limits | None],
    reference: Table,
    blocks: Sequence[Table],
    nights: Sequence[datetime],
    span: int,
    z: float,
) -> Chart:
    found = np.full((len(nights), 3), np.nan)
    for t, block in enumerate(blocks):
        limits = test(reference, block, z) if _enough(reference) and _enough(block) else None
        if limits:
            found[t] = limits
    value, low, high = found.T
    at = test(reference, reference, z) if _enough(reference) else None
    return Chart(
        name, span, nights, value, low, high, value, at[0] if at else float("nan"),
        np.array([len(block) for block in blocks], dtype=np.int64),
    )  # fmt: skip


def _enough(stays: Table) -> bool:
    positives = int(stays.label.sum())
    return min(positives, len(stays) - positives) >= _LEAST


def _auroc_limits(reference: Table, block: Table, z: float) -> Limits:
    then, now = (auroc(t.score.to_numpy(), t.label.to_numpy()) for t in (reference, block))
    spread = z * float(np.sqrt(then.variance + now.variance))
    return now.value, max(0.0, then.value - spread), min(1.0, then.value + spread)


def _calibration_limits(reference: Table, block: Table, z: float) -> Limits | None:
    """Observed readmissions over those expected at the reference's rates, score group by group."""
    bins = NumberBins.of(reference.score.to_numpy(), _GROUPS)
    size = bins.count(reference.score.to_numpy())
    hits = bins.count(reference.score[reference.label == 1].to_numpy())
    now = bins.count(block.score.to_numpy())
    rate = (hits + 0.5) / (size + 1)
    expected = float((now * rate).sum())
    variance: Floats = now * rate * (1 - rate) * (1 + now / (size + 1))
    spread = z * float(np.sqrt(variance.sum())) / expected
    return float(block.label.sum()) / expected, max(0.0, 1 - spread), 1 + spread


def _precision_limits(reference: Table, block: Table, z: float) -> Limits | None:
    then, now = reference[reference.alerted], block[block.alerted]
    if min(len(then), len(now)) < _LEAST:
        return None
    rate = (then.label.sum() + 0.5) / (len(then) + 1)
    spread = z * float(np.sqrt(rate * (1 - rate) * (1 / len(then) + 1 / len(now))))
    return float(now.label.mean()), max(0.0, rate - spread), min(1.0, rate + spread)
