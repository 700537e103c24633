"""Whether the figures fall with the time since training, for a split by time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from readmit_spark.evaluation.metrics import evaluate

_MIN_READMITTED = 20  # in each period; months with fewer are joined with those after them
SHOWN = ("auroc", "observed_over_expected", "brier")


def by_month(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Measure the admissions of each period of whole months, from the first on.

    rows: admittime, subject_id, score, label. Returns for each period `first` and `last` month
    (such as 2026-01), n, positives, and SHOWN as in `evaluation.metrics.evaluate`. Months are
    joined until a period has 20 readmitted admissions; the last period may have fewer.
    """
    months = rows.admittime.dt.strftime("%Y-%m")
    periods: list[list[str]] = [[]]
    for month in sorted(months.unique()):
        if rows.label[months.isin(periods[-1])].sum() >= _MIN_READMITTED:
            periods.append([])
        periods[-1].append(month)
    return [_measured(period, rows[months.isin(period)]) for period in periods if period]


def _measured(period: list[str], rows: pd.DataFrame) -> dict[str, Any]:
    measures = evaluate(
        rows.score.to_numpy(float),
        rows.label.to_numpy(int),
        rows.subject_id.to_numpy(),
        replicates=0,
    )
    return {
        "first": period[0],
        "last": period[-1],
        "n": measures["n"],
        "positives": measures["positives"],
        **{name: measures[name] for name in SHOWN},
    }
