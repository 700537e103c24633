"""The monitor as one self-contained page: what moved, since when, and how sure that is.

It holds counts and figures of groups of stays: no note text, and nothing of a single patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.metrics import wilson
from readmit_spark.nightly import monitor_pictures
from readmit_spark.nightly.control_charts import HORIZON, OUTCOMES, QUANTITIES, SPANS, Chart, Rules
from readmit_spark.pages.html import page_environment

CATEGORIES = 10  # that have a bar
BETWEEN = " + "


@dataclass(frozen=True)
class Monitor:
    """nights: all that are looked at, oldest first. stays: `spark.monitor.new_stays`, with `night`
    as a time. outcomes: score, alerted, label, dischtime of the settled stays."""

    nights: Sequence[datetime]
    rules: Rules
    charts: Sequence[Chart]
    stays: pd.DataFrame
    outcomes: pd.DataFrame
    facts: Mapping[str, str]
    horizon_days: float = 30


def alarm_rows(charts: Sequence[Chart]) -> list[dict[str, str]]:
    """Every alarm, the latest night first: night (ISO), what (the statistic), said (its value,
    limit and plain figure)."""
    rows = []
    for chart in charts:
        for t in map(int, np.flatnonzero(chart.alarms)):
            rows.append(
                {
                    "night": chart.nights[t].isoformat(),
                    "what": chart_name(chart),
                    "said": _said(chart, t),
                }
            )
    return sorted(rows, key=lambda row: (row["night"], row["what"]), reverse=True)


def chart_name(chart: Chart) -> str:
    if chart.name in OUTCOMES:
        return OUTCOMES[chart.name]
    span = "1 night" if chart.span == 1 else f"{chart.span} nights"
    return f"{QUANTITIES[chart.name]}, {span}"


def render_monitor(page: Monitor) -> str:
    last = len(page.nights) - 1
    drift = {name: [c for c in page.charts if c.name == name] for name in QUANTITIES}
    outcome = {c.name: c for c in page.charts if c.name in OUTCOMES}
    alarms = alarm_rows(page.charts)
    tonight = page.nights[last].isoformat()
    pages = page_environment()
    pages.filters |= {"figure": _figure}
    return pages.get_template("nightly/monitor.html.j2").render(
        page=page,
        testing=last >= page.rules.reference_nights,
        tonight=[row for row in alarms if row["night"] == tonight],
        earlier=[row for row in alarms if row["night"] != tonight],
        rows=[_row(name, charts, last) for name, charts in drift.items()],
        results=_results(page),
        drift={
            QUANTITIES[name]: monitor_pictures.drift_chart(
                charts, page.rules.reference_nights, title=_title(name, charts[0])
            )
            for name, charts in drift.items()
        },
        outcome={
            OUTCOMES[name]: monitor_pictures.outcome_chart(
                chart, page.rules.reference_nights, title=OUTCOMES[name]
            )
            for name, chart in outcome.items()
        },
        groups=_groups(page),
        n_new=int((page.stays.night == page.nights[last]).sum()),
        span=SPANS[-1],
        horizon=HORIZON,
        charts=len(page.charts),
    )


def _said(chart: Chart, t: int) -> str:
    if chart.name in OUTCOMES:
        return (
            f"{chart.values[t]:.3f}, limits {chart.low[t]:.3f} to {chart.high[t]:.3f} "
            f"({chart.n[t]:,} stays)"
        )
    plain = f"{_figure(chart.shown[t], chart.name)}, reference "
    plain += f"{_figure(chart.reference, chart.name)}; "
    if chart.name == "categories":
        plain = ""
    return (
        f"{plain}PSI {chart.values[t]:.3f} over the limit {chart.high[t]:.3f} "
        f"({chart.n[t]:,} stays)"
    )


def _figure(value: float, name: str) -> str:
    if np.isnan(value):
        return "none"
    if name in ("token_loss", "unknown_words", "unscored", "categories"):
        return f"{value:.2%}"
    return f"{value:.3f}" if name == "score" else f"{value:.2f}"


def _title(name: str, chart: Chart) -> str:
    return f"{QUANTITIES[name]} (above: its most frequent mix)" if name == "categories" else (
        QUANTITIES[name]
    )  # fmt: skip


def _row(name: str, charts: Sequence[Chart], last: int) -> dict[str, Any]:
    return {
        "name": name,
        "title": QUANTITIES[name],
        "reference": charts[0].reference,
        "spans": [
            {
                "shown": chart.shown[last],
                "index": chart.values[last],
                "limit": chart.high[last],
                "alarm": bool(chart.alarms[last]),
            }
            for chart in charts
        ],
    }


def _results(page: Monitor) -> dict[str, Any] | None:
    stays = page.outcomes
    if stays.empty:
        return None
    alerted = stays[stays.alerted]
    hits, n = int(alerted.label.sum()), len(alerted)
    return {
        "n": len(stays),
        "readmitted": int(stays.label.sum()),
        "from": stays.dischtime.min(),
        "to": stays.dischtime.max(),
        "alerted": n,
        "hits": hits,
        "interval": wilson(hits, n) if n else None,
        "calibration": pictures.calibration(
            stays.score.to_numpy(float), stays.label.to_numpy(int), title="Calibration"
        ),
    }


def _groups(page: Monitor) -> dict[str, bytes]:
    """Pictures of the reference beside the last nights."""
    last_reference = page.nights[min(page.rules.reference_nights, len(page.nights)) - 1]
    since = page.nights[-1] - timedelta(days=SPANS[-1])
    then = page.stays[page.stays.night <= last_reference]
    now = page.stays[(page.stays.night > since) & (page.stays.night > last_reference)]
    recent = f"last {SPANS[-1]} nights"
    shares = [_category_shares(stays) for stays in (then, now)]
    names = sorted({*shares[0], *shares[1]}, key=lambda c: -max(s.get(c, 0.0) for s in shares))
    names = names[:CATEGORIES]
    return {
        "Scores of new stays": monitor_pictures.compared(
            then.score.dropna(), now.score.dropna(), title="Scores of new stays",
            names=("reference", recent),
        ),
        "Categories of notes": monitor_pictures.mix(
            names, *([s.get(name, 0.0) for name in names] for s in shares),
            title="Categories of notes", recent=recent,
        ),
    }  # fmt: skip


def _category_shares(stays: pd.DataFrame) -> dict[str, float]:
    if stays.empty:
        return {}
    each = stays.categories.str.split(BETWEEN, regex=False).explode()
    counts = each[each != ""].value_counts()
    return {str(name): float(count) / len(stays) for name, count in counts.items()}
