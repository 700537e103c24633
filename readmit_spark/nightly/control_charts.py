"""Control charts over the published nights: is what comes in, and what comes out, as it was?

The unit is the stay, and each stay counts once: on the night on which it is first in the house. So
the nights' samples are independent although a patient lies there for days, and limits that assume
independence hold. What differs between nights beyond that (weekdays, outbreaks) is estimated from
the reference nights, and widens the limits (`drift.widening`).

The rate of false alarms is stated for all charts and a stretch of nights together. Each test gets
an equal part of it (Bonferroni), which holds however charts and nights depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from readmit_spark.nightly.drift import (
    Floats,
    NameBins,
    NumberBins,
    chance_limit,
    psi,
    widening,
)

HORIZON = 100  # nights that the rate of false alarms is stated for
SPANS = (1, 7)  # nights taken together: the first sees a break at once, the second a small shift
_MOST_BINS, _A_BIN = 10, 5  # as many bins as hold five new stays a reference night each

Table: TypeAlias = pd.DataFrame

# What is watched of a new stay, and how the page calls it.
QUANTITIES = {
    "score": "Score",
    "token_loss": "Token loss rate",
    "unknown_words": "Unknown word rate",
    "notes": "Notes a stay",
    "categories": "Category mix",
    "unscored": "Share without a score",
}
# Where their values can lie; the mix of categories is no number.
RANGES = {
    "score": (0.0, 1.0),
    "token_loss": (0.0, 1.0),
    "unknown_words": (0.0, math.inf),
    "notes": (0.0, math.inf),
    "unscored": (0.0, 1.0),
}
OUTCOMES = {
    "auroc": "AUROC",
    "calibration": "Readmissions, observed over expected",
    "alert_precision": "Alert precision",
}
N_CHARTS = len(QUANTITIES) * len(SPANS) + len(OUTCOMES)


@dataclass(frozen=True)
class Rules:
    """reference_nights: the first nights, which all later ones are held against.
    false_alarm_rate: the probability of any alarm in `HORIZON` quiet nights, over all charts."""

    reference_nights: int
    false_alarm_rate: float
    seed: int = 0

    @property
    def level(self) -> float:
        """The probability of a false alarm of one chart on one night."""
        return self.false_alarm_rate / (HORIZON * N_CHARTS)


@dataclass(frozen=True)
class Chart:
    """One statistic, night by night: [nights] arrays, not-a-number where there is none.

    span: nights taken together. shown: the plain figure beside the statistic (a mean or a share).
    reference: that figure over the reference nights. A value outside low and high is an alarm.
    """

    name: str
    span: int
    nights: Sequence[datetime]
    values: Floats
    low: Floats
    high: Floats
    shown: Floats
    reference: float
    n: NDArray[np.int64]

    @property
    def alarms(self) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            return (self.values > self.high) | (self.values < self.low)


def quantities(stays: Table) -> Table:
    """`QUANTITIES` of each stay, from the columns score, n_notes, n_tokens, n_tokens_cut,
    n_unknown, categories; missing where there is nothing to compute it from."""
    tokens = stays.n_tokens.astype(float)
    cut = stays.n_tokens_cut.astype(float)
    return pd.DataFrame(
        {
            "score": stays.score.astype(float),
            "token_loss": cut / (tokens + cut),
            "unknown_words": stays.n_unknown.astype(float) / tokens,
            "notes": stays.n_notes.astype(float),
            "categories": stays.categories.astype(str),
            "unscored": stays.score.isna().astype(float),
        }
    )


def drift_charts(stays: Table, nights: Sequence[datetime], rules: Rules) -> list[Chart]:
    """A chart for each of `QUANTITIES` and `SPANS`.

    stays: one row a stay, with the `night` on which it was first there, and the columns of
    `quantities`. nights: all nights, in order, the first `rules.reference_nights` the reference.
    """
    values = quantities(stays)
    night = pd.Index(nights).get_indexer(pd.Index(stays.night))
    rows = [np.flatnonzero(night == i) for i in range(len(nights))]
    # Of the reference alone: what a past night is held against must not change with later ones.
    then = rows[: rules.reference_nights]
    a_night = int(np.median([len(mine) for mine in then])) if then else 0
    most = min(_MOST_BINS, max(2, a_night // _A_BIN))
    return [
        chart
        for name in QUANTITIES
        for chart in _quantity_charts(name, values[name], rows, nights, most, rules)
    ]


def _quantity_charts(
    name: str,
    values: pd.Series[Any],
    rows: Sequence[NDArray[np.intp]],
    nights: Sequence[datetime],
    most: int,
    rules: Rules,
) -> list[Chart]:
    n_reference = min(rules.reference_nights, len(nights))
    known = np.concatenate([*rows[:n_reference], np.empty(0, dtype=np.intp)])
    bins: NumberBins | NameBins
    if name == "categories":
        bins = NameBins.of(values.iloc[known].tolist(), most)
        plain = (values == (bins.names[0] if bins.names else "")).astype(float)
    else:
        bins = NumberBins.of(values.iloc[known].to_numpy(), most, *RANGES[name])
        plain = values
    counts = np.array([bins.count(values.iloc[mine].to_numpy()) for mine in rows])
    reference = counts[:n_reference].sum(axis=0)
    spread = widening(counts[:n_reference], rules.level)
    charts = []
    for span in SPANS:
        index, high, shown = (np.full(len(nights), np.nan) for _ in range(3))
        size = np.zeros(len(nights), dtype=np.int64)
        if span == 1:
            shown = np.array([_mean(plain.iloc[mine]) for mine in rows])
        for t in range(n_reference, len(nights)):
            # What the reference holds is not held against it again.
            first = max(n_reference, t - span + 1)
            together = counts[first : t + 1].sum(axis=0)
            size[t] = together.sum()
            if size[t] and reference.sum():
                index[t] = psi(reference, together)
                high[t] = spread * chance_limit(reference, int(size[t]), rules.level, rules.seed)
                shown[t] = _mean(plain.iloc[np.concatenate(rows[first : t + 1])])
        low = np.full(len(nights), np.nan)
        mean = _mean(plain.iloc[known])
        charts.append(Chart(name, span, nights, index, low, high, shown, mean, size))
    return charts


def _mean(values: pd.Series[Any]) -> float:
    known = values.dropna()
    return float(known.mean()) if len(known) else float("nan")
