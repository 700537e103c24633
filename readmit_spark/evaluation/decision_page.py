"""Show decision curves as a picture and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from readmit_spark.evaluation.decision_curve import RISKS, SHOWN
from readmit_spark.pages.canvas import BLUE, COLOURS, GREY, RUST, new_figure, png_bytes


@dataclass(frozen=True)
class DecisionRow:
    """The net benefits of acting from `risk` on, for 1,000 admissions, as text.

    gain: of the score over the better of everybody and nobody, with its interval.
    """

    risk: float
    model: str
    everybody: str
    capacity: str
    gain: str


def decision_rows(curve: Mapping[str, Any]) -> Sequence[DecisionRow]:
    """Return the rows at the risks of SHOWN; none without admissions.

    curve: from `decision_curve`.
    """
    if curve["model"][0] is None:
        return []
    rows = []
    for risk in SHOWN:
        at = RISKS.index(risk)
        model, everybody, capacity, gain, low, high = (
            curve[name][at]
            for name in ("model", "everybody", "capacity", "gain", "gain_low", "gain_high")
        )
        spread = " (too few to say)" if low is None else f" ({_signed(low)} to {_signed(high)})"
        rows.append(
            DecisionRow(
                risk, _signed(model), _signed(everybody), _signed(capacity), _signed(gain) + spread
            )
        )
    return rows


def decision_picture(curves: Mapping[str, Mapping[str, Any]], *, title: str) -> bytes:
    """Draw net benefit against the risk from which a ward acts.

    curves: name -> result of `decision_curve` on the same admissions. The first one has a band and
    the capacity rule.
    """
    figure, axes = new_figure(title, "Risk from which a ward acts", "Net benefit")
    first = next(iter(curves.values()))
    if first["model"][0] is None:
        text = "Not drawn:\nno admission to evaluate."
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
        return png_bytes(figure)
    if first["low"][0] is not None:
        axes.fill_between(RISKS, first["low"], first["high"], color=BLUE, alpha=0.18, lw=0)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(RISKS, curve["model"], color=colour, lw=1.8, label=name)
    share = f"the highest {first['capacity_share']:.0%}"
    axes.plot(RISKS, first["capacity"], color=RUST, lw=1.2, ls="-.", label=share)
    axes.plot(RISKS, first["everybody"], color=GREY, lw=1.2, ls="--", label="everybody")
    axes.axhline(0, color=GREY, lw=1.2, ls=":", label="nobody")
    top = max(float(np.max(curve["model"])) for curve in curves.values())
    top = max(top, first["everybody"][0], 0.01)
    axes.set_ylim(-0.4 * top, 1.15 * top)  # lines far below nobody's do not matter
    axes.set_xlim(0, RISKS[-1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="upper right")
    return png_bytes(figure)


def _signed(net_benefit: float) -> str:
    """Return the net benefit of 1,000 admissions, in right alerts."""
    return f"{1000 * net_benefit:+.1f}".replace("-", "\N{MINUS SIGN}")
