"""What all pictures share: colours, the axes, PNG bytes.

Figures are objects, drawn without pyplot: no global state, no display, safe in any thread.
"""

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Told apart by lightness too, for print in grey and for colour-blind readers.
BLUE, RUST, GREY = "#1b5e9b", "#c2571a", "#6b6b6b"
_DPI = 144


def square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = frame(title, x, y)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    return figure, axes


def frame(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.9), layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title, x, y)
    return figure, axes


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=_DPI)  # a Figure without pyplot draws with Agg
    return out.getvalue()
