"""Draw the pictures of the monitor: control charts and distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from readmit_spark.nightly.control_charts import Chart
from readmit_spark.pages.canvas import BLUE, GREY, RUST, new_figure, png_bytes, style_axes

_ALARM = "#b00020"


def drift_chart(charts: Sequence[Chart], reference_nights: int, *, title: str) -> bytes:
    """Draw the mean of one quantity by night, and below it the stability index with its limit.

    charts: the charts of the quantity, one for each span, shortest span first.
    """
    figure = Figure(figsize=(5.2, 4.9), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    shortest, longest = charts[0], charts[-1]
    style_axes(above, title, "", "Mean of a night")
    above.plot(_times(shortest), shortest.shown, ".", color=GREY, ms=4)
    above.plot(_times(longest), longest.shown, color=BLUE, lw=1.6, label=f"{longest.span} nights")
    above.axhline(shortest.reference, color=GREY, lw=1, ls="--", label="reference")
    above.legend(frameon=False, fontsize=8, loc="best")
    style_axes(below, "", "", "Stability index (PSI)")
    for chart, colour in zip(charts, (GREY, BLUE), strict=True):
        name = "1 night" if chart.span == 1 else f"{chart.span} nights"
        below.plot(_times(chart), chart.values, color=colour, lw=1.3, label=name)
        below.plot(_times(chart), chart.high, color=colour, lw=1, ls=":", label=f"limit, {name}")
        _mark_alarms(below, chart)
    below.set_ylim(0, 1.45 * below.get_ylim()[1])  # room for the legend
    below.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    for axes in (above, below):
        _shade_reference(axes, shortest, reference_nights)
    _dates(below)
    return png_bytes(figure)


def outcome_chart(chart: Chart, reference_nights: int, *, title: str) -> bytes:
    """Draw an outcome statistic by night, with its control limits."""
    figure, axes = new_figure(title, "", f"Over {chart.span} nights")
    tested = ~np.isnan(chart.values)
    if not tested.any():
        text = "Not drawn:\ntoo few outcomes after\nthe reference nights are known."
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
        return png_bytes(figure)
    axes.fill_between(
        _times(chart), chart.low, chart.high, color=BLUE, alpha=0.12, lw=0, label="limits"
    )
    axes.axhline(
        chart.reference, color=GREY, lw=1, ls="--", label=f"reference, {chart.reference:.3f}"
    )
    axes.plot(_times(chart), chart.values, color=BLUE, lw=1.6)
    _mark_alarms(axes, chart)
    axes.legend(frameon=False, fontsize=8, loc="best")
    _dates(axes)
    return png_bytes(figure)


def score_histograms(
    reference: ArrayLike, recent: ArrayLike, *, title: str, names: tuple[str, str]
) -> bytes:
    """Draw the scores of two groups of admissions, each as shares of its group."""
    figure, axes = new_figure(title, "Score", "Share of the group")
    edges: list[float] = np.linspace(0, 1, 21).tolist()
    for values, name, colour, kind in (
        (np.asarray(reference, dtype=float), names[0], GREY, "stepfilled"),
        (np.asarray(recent, dtype=float), names[1], BLUE, "step"),
    ):
        if values.size:
            weights = np.full(values.size, 1 / values.size)
            axes.hist(
                values, edges, weights=weights, color=colour, lw=2, histtype=kind,  # type: ignore[arg-type]
                alpha=0.35 if kind == "stepfilled" else 1, label=f"{name} ({values.size:,})",
            )  # fmt: skip
    axes.set_xlim(0, 1.005)
    axes.legend(frameon=False, fontsize=8)
    return png_bytes(figure)


def category_bars(
    names: Sequence[str],
    reference: Sequence[float],
    recent: Sequence[float],
    *,
    title: str,
    recent_name: str,
) -> bytes:
    """Draw the share of new admissions with a note of each category."""
    figure, axes = new_figure(title, "Share of new admissions with such a note", "")
    y = np.arange(len(names))
    axes.barh(y - 0.2, reference, 0.38, color="#b9b9bd", label="reference")
    axes.barh(y + 0.2, recent, 0.38, color=BLUE, label=recent_name)
    axes.set_yticks(y, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.005)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return png_bytes(figure)


def _mark_alarms(axes: Axes, chart: Chart) -> None:
    alarms = chart.alarms
    if alarms.any():
        axes.plot(_times(chart)[alarms], chart.values[alarms], "o", color=_ALARM, ms=4.5, zorder=3)


def _times(chart: Chart) -> NDArray[np.datetime64]:
    return np.array(chart.nights, dtype="datetime64[s]")


def _shade_reference(axes: Axes, chart: Chart, nights: int) -> None:
    end = chart.nights[min(nights, len(chart.nights)) - 1]
    axes.axvspan(chart.nights[0], end, color=RUST, alpha=0.07, lw=0)  # type: ignore[arg-type]


def _dates(axes: Axes) -> None:
    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
