"""Control charts of the outcomes: AUROC, calibration and alert precision.

Only settled admissions count, that is, those whose horizon (30 days) has passed. A readmission
may be recorded after a few days, its absence is certain only after 30. So among recent discharges
only the readmissions would count.
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

from readmit_spark.evaluation.delong import components
from readmit_spark.nightly.control_charts import SPLIT, Chart, Rules, Table
from readmit_spark.nightly.drift import NumberBins

_MIN_PER_CLASS = 10  # fewer readmitted, or fewer other admissions, are not tested
_GROUPS = 10
_PRIOR = 0.5  # Jeffreys' prior

Limits = tuple[float, float, float]  # value, low, high
Test: TypeAlias = Callable[[Table, Table, float], Limits | None]  # reference, block, level


@dataclass(frozen=True)
class Auroc:
    """The area under the ROC curve and the variance of its estimate."""

    value: float
    variance: float


def auroc(scores: ArrayLike, labels: ArrayLike) -> Auroc:
    """Return the AUROC and its variance.

    The AUROC is the share of (positive, negative) pairs in which the positive has the higher score;
    a tie counts one half. Variance: DeLong, DeLong and Clarke-Pearson 1988, doi 10.2307/2531595.
    Needs at least two of each class.

    >>> auroc([0.9, 0.6, 0.7, 0.2], [1, 1, 0, 0]).value
    0.75
    """
    parts = components(scores, labels)
    variance = sum(part.var(ddof=1) / len(part) for part in (parts.positive, parts.negative))
    return Auroc(parts.auroc, float(variance))


def outcome_charts(
    outcomes: Table, nights: Sequence[datetime], rules: Rules, horizon_days: float
) -> list[Chart]:
    """Make the charts of AUROC, calibration and alert precision; with a column `acted`, the alert
    precision of those acted on and of the others too.

    outcomes: columns score, risk, alerted, label, dischtime; one row for each admission. The
    reference are the admissions discharged by the last reference night. The value of a night is
    computed over a block: the later admissions that were settled in the last
    `rules.reference_nights` nights. Without change, a value is outside of its limits with
    probability `rules.level`; the limits allow for the reference being a sample. Admissions count
    as independent, although a patient may have several.
    """
    settled = outcomes.dischtime + timedelta(days=horizon_days)
    settled_at = np.searchsorted(np.array(nights, dtype="datetime64[us]"), settled.to_numpy())
    n_reference = min(rules.reference_nights, len(nights))
    last = nights[n_reference - 1] if n_reference else datetime.min
    in_reference = (outcomes.dischtime <= last).to_numpy()
    # Tests begin when the whole reference is settled.
    from_night = int(settled_at[in_reference].max()) if in_reference.any() else len(nights)
    tests: dict[str, Test] = {
        "auroc": _auroc_limits,
        "calibration": _calibration_limits,
        "alert_precision": _precision_limits,
    }
    reference = outcomes[in_reference & (settled_at < len(nights))]
    blocks = [
        outcomes[~in_reference & (settled_at <= t) & (settled_at > t - n_reference)]
        if t >= from_night
        else outcomes[:0]
        for t in range(len(nights))
    ]
    charts = [
        _chart(name, test, reference, blocks, nights, n_reference, rules.level)
        for name, test in tests.items()
    ]
    if "acted" in outcomes:
        for name, acted in zip(SPLIT, (True, False), strict=True):
            parts = [block[block.alerted & (block.acted == acted)] for block in blocks]
            before = reference[reference.alerted & (reference.acted == acted)]
            charts.append(_untested(name, before, parts, nights, n_reference))
    return charts


def _untested(
    name: str,
    reference: Table,
    blocks: Sequence[Table],
    nights: Sequence[datetime],
    span: int,
) -> Chart:
    """Make a chart of the readmitted share, without limits."""

    def share(rows: Table) -> float:
        return float(rows.label.mean()) if len(rows) >= _MIN_PER_CLASS else float("nan")

    values = np.array([share(block) for block in blocks])
    none = np.full(len(nights), np.nan)
    n = np.array([len(block) for block in blocks], dtype=np.int64)
    return Chart(name, span, nights, values, none, none, values, share(reference), n)


def _chart(
    name: str,
    test: Test,
    reference: Table,
    blocks: Sequence[Table],
    nights: Sequence[datetime],
    span: int,
    level: float,
) -> Chart:
    rows = np.full((len(nights), 3), np.nan)
    for t, block in enumerate(blocks):
        limits = test(reference, block, level) if _enough(reference) and _enough(block) else None
        if limits:
            rows[t] = limits
    value, low, high = rows.T
    of_reference = test(reference, reference, level) if _enough(reference) else None
    return Chart(
        name, span, nights, value, low, high, value,
        of_reference[0] if of_reference else float("nan"),
        np.array([len(block) for block in blocks], dtype=np.int64),
    )  # fmt: skip


def _enough(admissions: Table) -> bool:
    positives = int(admissions.label.sum())
    return min(positives, len(admissions) - positives) >= _MIN_PER_CLASS


def _auroc_limits(reference: Table, block: Table, level: float) -> Limits:
    """Compute the block's AUROC and normal limits on the logit scale.

    Pepe 2003, The Statistical Evaluation of Medical Tests, 5.2.5. On the original scale, small
    samples exceed the limits three times as often as they should.
    """
    (_, centre, reference_variance), (value, _, variance) = _logit(reference), _logit(block)
    spread = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(reference_variance + variance)
    return value, _expit(centre - spread), _expit(centre + spread)


def _logit(admissions: Table) -> tuple[float, float, float]:
    """Return the AUROC, its logit and the variance of the logit.

    An AUROC of 0 or 1 is moved by half a pair, because its logit would be infinite.
    """
    estimate = auroc(admissions.score.to_numpy(), admissions.label.to_numpy())
    positives = int(admissions.label.sum())
    pairs = positives * (len(admissions) - positives)
    inside = min(max(estimate.value, 0.5 / pairs), 1 - 0.5 / pairs)
    slope = inside * (1 - inside)  # the logit has the derivative 1 / slope
    variance = max(estimate.variance, slope / pairs) / slope**2
    return estimate.value, math.log(inside / (1 - inside)), variance


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _calibration_limits(reference: Table, block: Table, level: float) -> Limits:
    """Compute observed over expected readmissions of the block, and its limits.

    Expected: the sum of the risks; where a stay has none, that of the reference's readmission
    rates. The limits are those of as many readmissions as at the reference's rates, in groups of
    similar risk (or score).
    """
    has_risks = bool(reference.risk.notna().all() and block.risk.notna().all())
    by = "risk" if has_risks else "score"
    bins = NumberBins.of(reference[by].to_numpy(float), _GROUPS)
    reference_n = bins.count(reference[by].to_numpy(float))
    hits = bins.count(reference[by][reference.label == 1].to_numpy(float))
    block_n = bins.count(block[by].to_numpy(float))
    rates = (hits + _PRIOR) / (reference_n + 2 * _PRIOR)
    expected = float(block.risk.sum() if has_risks else (block_n * rates).sum())
    low, high = _count_limits(hits, reference_n, block_n, level)
    return float(block.label.sum()) / expected, low / expected, high / expected


def _precision_limits(reference: Table, block: Table, level: float) -> Limits | None:
    """Compute the alert precision of the block and its limits; None if there are few alerts."""
    before, alerted = reference[reference.alerted], block[block.alerted]
    if min(len(before), len(alerted)) < _MIN_PER_CLASS:
        return None
    n = len(alerted)
    low, high = _count_limits([before.label.sum()], [len(before)], [n], level)
    return float(alerted.label.mean()), low / n, high / n


def _count_limits(
    hits: ArrayLike, reference_n: ArrayLike, block_n: ArrayLike, level: float
) -> tuple[int, int]:
    """Return (low, high) of the total number of hits in the block.

    hits: [groups] hits among the reference_n: [groups] admissions of the reference. block_n:
    [groups] admissions of the block. The number of hits is below low, and above high, with
    probability at most level / 2 each. The number in each group is beta-binomial (Jeffreys'
    prior); the distribution of the total is the convolution of the groups.
    """
    pmf = np.ones(1)
    for a, n, m in zip(np.asarray(hits), np.asarray(reference_n), np.asarray(block_n), strict=True):
        group_pmf = betabinom.pmf(np.arange(m + 1), m, a + _PRIOR, n - a + _PRIOR)
        pmf = np.convolve(pmf, group_pmf)
    below, above = np.cumsum(pmf), np.cumsum(pmf[::-1])[::-1]
    return int((below <= level / 2).sum()), len(pmf) - 1 - int((above <= level / 2).sum())
