"""Draw the quality of scores as PNG pictures.

If a curve is undefined for the labels, the picture states the reason in words. A run must not fail
because of its report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from readmit_spark.evaluation import calibration as calibrations
from readmit_spark.evaluation.curves import Bands, bands, curves, why_no_curve
from readmit_spark.evaluation.intervals import Floats
from readmit_spark.pages.canvas import (
    BLUE,
    GREY,
    RUST,
    new_figure,
    new_unit_square,
    png_bytes,
    style_axes,
)


def roc(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    measured: Mapping[str, Any],
    *,
    title: str,
) -> bytes:
    """Draw the ROC curve with its 95 % band.

    measured: the result of ``metrics.evaluate`` for the same scores, labels and patients.
    """
    figure, axes = new_unit_square(title, "False positive rate", "Recall (true positive rate)")
    if _states_no_curve(axes, labels):
        return png_bytes(figure)
    points, band = curves(scores, labels), _band(scores, labels, patients, measured)
    name = f"AUROC {_with_interval(measured['auroc'])}"
    x, y = points.false_positive_rate, points.recall
    _curve(axes, (x, y), (band.grid, band.recall_low, band.recall_high), name)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="by chance, 0.5")
    axes.legend(loc="lower right", frameon=False)
    return png_bytes(figure)


def precision_recall(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    measured: Mapping[str, Any],
    *,
    title: str,
) -> bytes:
    """Draw the precision-recall curve with its 95 % band and mark the point of RP80.

    measured: as ``roc``.
    """
    figure, axes = new_unit_square(title, "Recall", "Precision")
    if _states_no_curve(axes, labels):
        return png_bytes(figure)
    points, band = curves(scores, labels), _band(scores, labels, patients, measured)
    name = f"AUPRC {_with_interval(measured['auprc'])}"
    x, y = points.recall, points.precision
    _curve(axes, (x, y), (band.grid, band.precision_low, band.precision_high), name)
    rp80 = measured["rp80"]
    axes.axhline(0.8, color=RUST, lw=1, ls=":", label="precision 0.80")
    if rp80["value"]:
        at = int(np.flatnonzero(points.thresholds == rp80["threshold"])[0])
        name = f"RP80 {_with_interval(rp80, percent=True)}"
        axes.plot(x[at], y[at], "o", color=RUST, ms=7, label=name, clip_on=False)
    chance = measured["prevalence"]["value"]
    axes.axhline(chance, color=GREY, lw=1, ls="--", label=f"by chance, {chance:.3f}")
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    return png_bytes(figure)


def distribution(scores: ArrayLike, labels: ArrayLike, *, title: str) -> bytes:
    """Draw two score histograms, readmitted and not readmitted, each as shares of its group."""
    figure, axes = new_figure(title, "Score", "Share of the group")
    s, y = np.asarray(scores, dtype=float), np.asarray(labels)
    if s.size == 0:
        _states_no_curve(axes, labels)
        return png_bytes(figure)
    edges: list[float] = np.linspace(0, 1, 21).tolist()
    groups = ((0, "not readmitted", BLUE, "stepfilled"), (1, "readmitted", RUST, "step"))
    for label, name, colour, style in groups:
        group = s[y == label]
        if group.size:
            axes.hist(
                group,
                edges,
                weights=np.full(group.size, 1 / group.size),
                histtype=style,  # type: ignore[arg-type]
                color=colour,
                alpha=0.35 if style == "stepfilled" else 1,
                lw=2,
                label=f"{name} ({group.size:,})",
            )
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1.005)
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, loc="upper right")
    return png_bytes(figure)


def calibration(scores: ArrayLike, labels: ArrayLike, *, title: str) -> bytes:
    """Draw the share readmitted against the mean score in groups of equal size.

    The bars are 95 % intervals of the share.
    """
    figure, axes = new_unit_square(
        title, "Mean score of the group", "Share readmitted in the group"
    )
    bins = calibrations.calibration(scores, labels)
    if not bins:
        _states_no_curve(axes, labels)
        return png_bytes(figure)
    predicted, observed = [b.mean_score for b in bins], np.array([b.observed for b in bins])
    below, above = observed - [b.low for b in bins], [b.high for b in bins] - observed
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="score = share readmitted")
    # Rounding errors can put the rate slightly outside of Wilson's bounds.
    spread = np.clip([below, above], 0, None)
    name = f"{len(bins)} groups of about {round(sum(b.n for b in bins) / len(bins)):,}"
    axes.errorbar(predicted, observed, spread, color=BLUE, marker="o", ms=5, capsize=2, label=name)
    axes.legend(loc="best", frameon=False)
    return png_bytes(figure)


def loss(losses: Sequence[tuple[int, float]], *, title: str) -> bytes:
    """Draw the training loss. losses: (optimiser step, mean loss since the previous pair)."""
    figure, axes = new_figure(title, "Step", "Binary cross-entropy")
    axes.plot([step for step, _ in losses], [value for _, value in losses], color=BLUE, marker=".")
    return png_bytes(figure)


@dataclass(frozen=True)
class Dot:
    """The AUROC of a model with its interval, and the published AUROC; None: undefined.

    is_sd: low and high are a standard deviation away, and no interval.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    published: float | None
    is_sd: bool = False


@dataclass(frozen=True)
class Panel:
    """The models of one window. attainable: the AUROC of the true risks, None if unknown."""

    dots: Sequence[Dot]
    attainable: float | None


def comparison(panels: Mapping[str, Panel]) -> bytes:
    """Draw the AUROC of each model beside the published one. panels: window in words -> panel."""
    rows = max((len(panel.dots) for panel in panels.values()), default=1)
    figure = Figure(figsize=(3.6 * len(panels) + 1, 0.42 * rows + 1.5), layout="constrained")
    all_axes = figure.subplots(1, max(1, len(panels)), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, panel) in zip(all_axes, panels.items(), strict=False):
        style_axes(axes, title, "AUROC, balanced", "")
        for y, dot in enumerate(panel.dots):
            if dot.value is not None:
                if dot.low is not None and dot.high is not None:
                    # A standard deviation is no interval, so it has another line.
                    name = "\N{PLUS-MINUS SIGN} SD of folds" if dot.is_sd else "95 % interval"
                    axes.plot(
                        [dot.low, dot.high], [y, y], color=BLUE, label=name,
                        ls=":" if dot.is_sd else "-", lw=1.6 if dot.is_sd else 2, alpha=0.6,
                    )  # fmt: skip
                axes.plot(dot.value, y, "o", color=BLUE, ms=7, label="this run")
            if dot.published is not None:
                axes.plot(dot.published, y, "D", color=RUST, ms=6, mfc="none", zorder=3,
                          label="published (MIMIC-III)")  # fmt: skip
        axes.axvline(0.5, color=GREY, lw=1, ls="--", label="by chance")
        if panel.attainable is not None:
            axes.axvline(panel.attainable, color=GREY, lw=1, ls=":", label="attainable")
        axes.set_yticks(list(range(len(panel.dots))), [dot.name for dot in panel.dots])
        axes.set_ylim(rows - 0.5, -0.5)
    handles, names = all_axes[0].get_legend_handles_labels()
    legend = dict(zip(names, handles, strict=True))  # each label once
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", frameon=False,
        ncols=2,
    )  # fmt: skip
    return png_bytes(figure)


def _band(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike, measured: Mapping[str, Any]
) -> Bands:
    """Compute the bands from the same replicates as the interval in the legend."""
    replicates, seed = measured["replicates"], measured["seed"]
    return bands(scores, labels, patients, replicates=replicates, seed=seed)


def _curve(
    axes: Axes,
    curve: tuple[Floats, Floats],
    band: tuple[Floats, Floats, Floats],
    name: str,
) -> None:
    """Draw a curve (x, y) over its shaded band (x, low, high)."""
    axes.fill_between(*band, color=BLUE, alpha=0.18, lw=0)
    axes.plot(*curve, color=BLUE, lw=1.8, label=name)


def _states_no_curve(axes: Axes, labels: ArrayLike) -> bool:
    """Write the reason on the axes and return True if the labels allow no curve."""
    reason = why_no_curve(labels)
    if reason:
        text = f"Not drawn:\n{reason}."
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
    return reason is not None


def _with_interval(measure: Mapping[str, Any], percent: bool = False) -> str:
    value, low, high = (measure[k] for k in ("value", "low", "high"))
    shown = "{:.1%}" if percent else "{:.3f}"
    if low is None:
        return shown.format(value)
    return f"{shown} ({shown} to {shown})".format(value, low, high)
