"""Render the scores after each day of the stay as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from readmit_spark.pages.canvas import BLUE, GREY, RUST, new_figure, png_bytes
from readmit_spark.pages.html import page_environment

_MAX_LINES = 12  # more lines in one picture cannot be distinguished


@dataclass(frozen=True)
class Day:
    """The figures of one day of the stay.

    n: admissions with a score on that day. measured: number of them in the test split with a known
    outcome and a stay of at least that many days. auroc: of the measured admissions, as the entry
    "auroc" of `evaluation.metrics.evaluate`.
    """

    day: int
    n: int
    measured: int
    auroc: Mapping[str, Any]


@dataclass(frozen=True)
class OverTime:
    """Everything on the page. rows: the table `risk_by_day`. shown: hadm_ids with own lines. ids:
    the texts that the page shows for numbers of ids."""

    model: str
    rows: pd.DataFrame
    days: Sequence[Day]
    shown: Sequence[int]
    horizon_days: float = 30
    ids: Mapping[int, str] = field(default_factory=dict)


def render_over_time(page: OverTime) -> str:
    """Render the page. All text is escaped."""
    scores = page.rows.pivot(index="hadm_id", columns="day", values="score")
    table = [
        (page.ids.get(hadm, hadm), [None if np.isnan(v) else float(v) for v in scores.loc[hadm]])
        for hadm in page.shown
    ]
    pictures = {
        "Scores of the admissions with the highest risk, by day": _lines(page),
        "Scores by outcome and day: medians and the middle 50 %": _by_outcome(page.rows),
    }
    return (
        page_environment()
        .get_template("insight/over_time.html.j2")
        .render(page=page, numbers=[int(day) for day in scores.columns], table=table,
                pictures=pictures)
    )  # fmt: skip


def _lines(page: OverTime) -> bytes:
    figure, axes = new_figure("The highest risks", "Day of stay", "Score after the day")
    for i, hadm in enumerate(page.shown[:_MAX_LINES]):
        rows = page.rows[page.rows.hadm_id == hadm]
        axes.plot(
            rows.day, rows.score, marker="o", ms=3.5, lw=1.4, label=str(page.ids.get(hadm, hadm)),
            color=(BLUE, RUST, GREY)[i % 3], ls=("-", "--", ":", "-.")[i // 3],
        )  # fmt: skip
    axes.set_ylim(0, 1.005)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="Admission", frameon=False, fontsize=7, ncols=3, loc="best")
    return png_bytes(figure)


def _by_outcome(rows: pd.DataFrame) -> bytes:
    figure, axes = new_figure("By outcome", "Day of stay", "Score after the day")
    for label, name, colour in ((0, "not readmitted", BLUE), (1, "readmitted", RUST)):
        by_day = rows[rows.label == label].groupby("day").score
        if by_day.ngroups:
            days = np.array(sorted(by_day.groups))
            low, median, high = (by_day.quantile(q).loc[days] for q in (0.25, 0.5, 0.75))
            axes.fill_between(days, low, high, color=colour, alpha=0.15, lw=0)
            axes.plot(days, median, color=colour, marker="o", ms=4, lw=1.8, label=name)
    axes.set_ylim(0, 1.005)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if rows.label.notna().any():
        axes.legend(frameon=False, loc="best")
    else:
        text = "Not drawn:\nno outcome is known."
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
    return png_bytes(figure)
