"""Control charts over the published nights: have the input notes or the scores changed?

Each admission counts once, on its first night in hospital. So the samples of different nights are
independent although patients stay for days, and limits that assume independence are valid.
Differences between nights beyond chance (weekdays, outbreaks) are estimated from the reference
nights and widen the limits (`drift.widening_factor`).

The rate of false alarms holds for all charts and `HORIZON` nights together. Each test gets an equal
part of it (Bonferroni), which is valid for any dependence between charts and nights.
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
    widening_factor,
)

HORIZON = 100  # number of nights for which the rate of false alarms holds
SPANS = (1, 7)  # nights pooled: 1 shows a break at once, 7 show a small lasting shift
# At most 10 bins, and at least 5 new admissions in a bin on a typical reference night.
_MOST_BINS, _MIN_PER_BIN = 10, 5

Table: TypeAlias = pd.DataFrame

# Monitored quantities of a new admission and their titles on the page.
QUANTITIES = {
    "score": "Score",
    "token_loss": "Token loss rate",
    "unknown_words": "Unknown word rate",
    "notes": "Notes per admission",
    "categories": "Category mix",
    "unscored": "Share without a score",
}
# Possible range of the quantities that are numbers.
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
# Alert precision by what the ward did. Shown and not tested: no reference says what is right.
SPLIT = {
    "alert_precision_acted": "Alert precision, acted on",
    "alert_precision_left": "Alert precision, not acted on",
}
N_CHARTS = len(QUANTITIES) * len(SPANS) + len(OUTCOMES)


@dataclass(frozen=True)
class Rules:
    """The settings of the control charts.

    reference_nights: the number of first nights with which all later nights are compared.
    false_alarm_rate: the probability of any alarm in any chart in `HORIZON` nights without change.
    """

    reference_nights: int
    false_alarm_rate: float
    seed: int = 0

    @property
    def level(self) -> float:
        """The probability of a false alarm in one chart on one night."""
        return self.false_alarm_rate / (HORIZON * N_CHARTS)


@dataclass(frozen=True)
class Chart:
    """One statistic by night. All arrays are [nights]; not-a-number means undefined.

    span: number of nights pooled. values: the statistic; outside of low and high it is an alarm.
    shown: the mean or share that the page shows beside the statistic. reference: the same over the
    reference nights. n: number of admissions.
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
        """Whether each night has an alarm."""
        with np.errstate(invalid="ignore"):
            return (self.values > self.high) | (self.values < self.low)


def quantities(admissions: Table) -> Table:
    """Compute the `QUANTITIES` of each admission; not-a-number if undefined.

    admissions: columns score, n_notes, n_tokens, n_tokens_cut, n_unknown, categories.
    """
    tokens = admissions.n_tokens.astype(float)
    cut = admissions.n_tokens_cut.astype(float)
    return pd.DataFrame(
        {
            "score": admissions.score.astype(float),
            "token_loss": cut / (tokens + cut),
            "unknown_words": admissions.n_unknown.astype(float) / tokens,
            "notes": admissions.n_notes.astype(float),
            "categories": admissions.categories.astype(str),
            "unscored": admissions.score.isna().astype(float),
        }
    )


def drift_charts(admissions: Table, nights: Sequence[datetime], rules: Rules) -> list[Chart]:
    """Make a chart for each of `QUANTITIES` and `SPANS`.

    admissions: one row for each admission, with its first `night` and the columns of `quantities`.
    nights: all nights, in order; the first `rules.reference_nights` are the reference.
    """
    values = quantities(admissions)
    night = pd.Index(nights).get_indexer(pd.Index(admissions.night))
    rows = [np.flatnonzero(night == i) for i in range(len(nights))]
    # Bins depend on the reference nights only, so that later nights do not change earlier results.
    reference = rows[: rules.reference_nights]
    typical_n = int(np.median([len(night_rows) for night_rows in reference])) if reference else 0
    most_bins = min(_MOST_BINS, max(2, typical_n // _MIN_PER_BIN))
    return [
        chart
        for name in QUANTITIES
        for chart in _quantity_charts(name, values[name], rows, nights, most_bins, rules)
    ]


def _quantity_charts(
    name: str,
    values: pd.Series[Any],
    rows: Sequence[NDArray[np.intp]],
    nights: Sequence[datetime],
    most_bins: int,
    rules: Rules,
) -> list[Chart]:
    """Make the charts of one quantity, one for each span.

    values: the quantity of each admission. rows: for each night the positions of its admissions.
    """
    n_reference = min(rules.reference_nights, len(nights))
    in_reference = np.concatenate([*rows[:n_reference], np.empty(0, dtype=np.intp)])
    bins: NumberBins | NameBins
    if name == "categories":
        bins = NameBins.of(values.iloc[in_reference].tolist(), most_bins)
        plain = (values == (bins.names[0] if bins.names else "")).astype(float)
    else:
        bins = NumberBins.of(values.iloc[in_reference].to_numpy(), most_bins, *RANGES[name])
        plain = values
    counts = np.array([bins.count(values.iloc[night_rows].to_numpy()) for night_rows in rows])
    reference = counts[:n_reference].sum(axis=0)
    factor = widening_factor(counts[:n_reference], rules.level)
    charts = []
    for span in SPANS:
        index, high, shown = (np.full(len(nights), np.nan) for _ in range(3))
        size = np.zeros(len(nights), dtype=np.int64)
        if span == 1:
            shown = np.array([_mean(plain.iloc[night_rows]) for night_rows in rows])
        for t in range(n_reference, len(nights)):
            # Reference nights are not compared with themselves.
            first = max(n_reference, t - span + 1)
            pooled = counts[first : t + 1].sum(axis=0)
            size[t] = pooled.sum()
            if size[t] and reference.sum():
                index[t] = psi(reference, pooled)
                high[t] = factor * chance_limit(reference, int(size[t]), rules.level, rules.seed)
                shown[t] = _mean(plain.iloc[np.concatenate(rows[first : t + 1])])
        low = np.full(len(nights), np.nan)
        mean = _mean(plain.iloc[in_reference])
        charts.append(Chart(name, span, nights, index, low, high, shown, mean, size))
    return charts


def _mean(values: pd.Series[Any]) -> float:
    present = values.dropna()
    return float(present.mean()) if len(present) else float("nan")
