"""Render the monitor as one HTML page: alarms, control charts and measured outcomes.

The page shows counts and figures of groups of admissions, no note text and no single patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.calibration import calibration_measures
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.nightly import monitor_pictures
from readmit_spark.nightly.control_charts import (
    HORIZON,
    OUTCOMES,
    QUANTITIES,
    SPANS,
    SPLIT,
    Chart,
    Rules,
)
from readmit_spark.pages.html import page_environment

_MAX_CATEGORIES = 10  # bars in the picture of categories
_TITLES = OUTCOMES | SPLIT
_FEW_NIGHTS = 7  # a chart of fewer nights shows no course
_SEPARATOR = " + "  # between the categories of an admission, as monitor_stays.CATEGORY_SEPARATOR


@dataclass(frozen=True)
class Monitor:
    """Everything on the page.

    nights: all compared nights, oldest first. new_admissions: rows of `monitor_stays.new_stays`,
    with `night` as a time. outcomes: columns subject_id, score, risk, alerted, label, dischtime
    of the settled admissions, and acted where it is known what the ward did.
    """

    nights: Sequence[datetime]
    rules: Rules
    charts: Sequence[Chart]
    new_admissions: pd.DataFrame
    outcomes: pd.DataFrame
    facts: Mapping[str, str]
    horizon_days: float = 30


def alarm_rows(charts: Sequence[Chart]) -> list[dict[str, str]]:
    """Return all alarms, latest night first.

    Keys: night (ISO), what (the statistic), said (its value, its limit and the mean or share).
    """
    rows = []
    for chart in charts:
        for t in map(int, np.flatnonzero(chart.alarms)):
            rows.append(
                {
                    "night": chart.nights[t].isoformat(),
                    "what": chart_name(chart),
                    "said": _alarm_text(chart, t),
                }
            )
    return sorted(rows, key=lambda row: (row["night"], row["what"]), reverse=True)


def chart_name(chart: Chart) -> str:
    """Return the title of a chart, with its span."""
    if chart.name in _TITLES:
        return _TITLES[chart.name]
    span = "1 night" if chart.span == 1 else f"{chart.span} nights"
    return f"{QUANTITIES[chart.name]}, {span}"


def render_monitor(page: Monitor) -> str:
    """Render the page for the last of its nights. All text is escaped."""
    last = len(page.nights) - 1
    drift = {name: [c for c in page.charts if c.name == name] for name in QUANTITIES}
    outcome = {c.name: c for c in page.charts if c.name in _TITLES}
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
            _TITLES[name]: monitor_pictures.outcome_chart(
                chart, page.rules.reference_nights, title=_TITLES[name]
            )
            for name, chart in outcome.items()
        },
        groups=_groups(page),
        n_new=int((page.new_admissions.night == page.nights[last]).sum()),
        span=SPANS[-1],
        horizon=HORIZON,
        charts=sum(chart.name not in SPLIT for chart in page.charts),
        few_nights=_FEW_NIGHTS,
    )


def _alarm_text(chart: Chart, t: int) -> str:
    if chart.name in OUTCOMES:
        return (
            f"{chart.values[t]:.3f}, limits {chart.low[t]:.3f} to {chart.high[t]:.3f} "
            f"({chart.n[t]:,} admissions)"
        )
    figure = ""
    if chart.name != "categories":
        figure = f"{_figure(chart.shown[t], chart.name)}, reference "
        figure += f"{_figure(chart.reference, chart.name)}; "
    return (
        f"{figure}PSI {chart.values[t]:.3f} above the limit {chart.high[t]:.3f} "
        f"({chart.n[t]:,} admissions)"
    )


def _figure(value: float, name: str) -> str:
    """Format a mean or share of the quantity `name`."""
    if np.isnan(value):
        return "none"
    if name in ("token_loss", "unknown_words", "unscored", "categories"):
        return f"{value:.2%}"
    return f"{value:.3f}" if name == "score" else f"{value:.2f}"


def _title(name: str, chart: Chart) -> str:
    title = QUANTITIES[name]
    return f"{title} (above: share of the most frequent mix)" if name == "categories" else title


def _row(name: str, charts: Sequence[Chart], last: int) -> dict[str, Any]:
    """Return a row of the table of tonight's figures. charts: one for each span."""
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
    """Return the figures of all settled admissions; None if there are none."""
    admissions = page.outcomes
    if admissions.empty:
        return None
    alerted = admissions[admissions.alerted]
    hits, n = int(alerted.label.sum()), len(alerted)
    return {
        "n": len(admissions),
        "readmitted": int(admissions.label.sum()),
        "from": admissions.dischtime.min(),
        "to": admissions.dischtime.max(),
        "alerted": n,
        "hits": hits,
        "interval": wilson(hits, n) if n else None,
        "agreement": _agreement(admissions),
        "split": _split(alerted),
        "calibration": pictures.calibration(
            _listed(admissions).to_numpy(float),
            admissions.label.to_numpy(int),
            title="Calibration",
        ),
    }


def _listed(admissions: pd.DataFrame) -> pd.Series[Any]:
    """Return the risks, or the scores where an admission has no risk."""
    return admissions.risk if admissions.risk.notna().all() else admissions.score


def _agreement(admissions: pd.DataFrame) -> dict[str, Any] | None:
    """Return the readmissions that the risks announced, and observed over expected; None without
    risks, or if all admissions have the same outcome."""
    if not admissions.risk.notna().all() or admissions.label.nunique() < 2:
        return None
    measures = calibration_measures(
        admissions.risk.to_numpy(float),
        admissions.label.to_numpy(float),
        pd.factorize(admissions.subject_id)[0],
    )
    return {"expected": float(admissions.risk.sum()), **measures["observed_over_expected"]}


def _split(alerted: pd.DataFrame) -> list[dict[str, Any]]:
    """Return n and readmitted of the alerted that were acted on, and of the others; none where it
    is not known."""
    if "acted" not in alerted:
        return []
    parts = (("acted on", alerted[alerted.acted]), ("not acted on", alerted[~alerted.acted]))
    return [
        {
            "name": name,
            "n": len(rows),
            "hits": int(rows.label.sum()),
            "interval": wilson(int(rows.label.sum()), len(rows)) if len(rows) else None,
        }
        for name, rows in parts
    ]


def _groups(page: Monitor) -> dict[str, bytes]:
    """Draw the scores and note categories of the reference beside those of the last nights."""
    last_reference = page.nights[min(page.rules.reference_nights, len(page.nights)) - 1]
    since = page.nights[-1] - timedelta(days=SPANS[-1])
    night = page.new_admissions.night
    reference = page.new_admissions[night <= last_reference]
    recent = page.new_admissions[(night > since) & (night > last_reference)]
    recent_name = f"last {SPANS[-1]} nights"
    shares = [_category_shares(admissions) for admissions in (reference, recent)]
    names = sorted({*shares[0], *shares[1]}, key=lambda c: -max(s.get(c, 0.0) for s in shares))
    names = names[:_MAX_CATEGORIES]
    return {
        "Scores of new admissions": monitor_pictures.score_histograms(
            reference.score.dropna(), recent.score.dropna(), title="Scores of new admissions",
            names=("reference", recent_name),
        ),
        "Categories of notes": monitor_pictures.category_bars(
            names, *([s.get(name, 0.0) for name in names] for s in shares),
            title="Categories of notes", recent_name=recent_name,
        ),
    }  # fmt: skip


def _category_shares(admissions: pd.DataFrame) -> dict[str, float]:
    """Return for each category the share of admissions with such a note."""
    if admissions.empty:
        return {}
    categories = admissions.categories.str.split(_SEPARATOR, regex=False).explode()
    counts = categories[categories != ""].value_counts()
    return {str(name): float(count) / len(admissions) for name, count in counts.items()}
