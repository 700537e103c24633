"""Colours, axes and PNG output shared by all pictures.

Figures are created without pyplot, so there is no global state and no display, and pictures can be
drawn in any thread.
"""

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# They also differ in lightness, for grey prints and colour-blind readers.
BLUE, RUST, GREY = "#1b5e9b", "#c2571a", "#6b6b6b"
# For several models in one picture; they differ in lightness too.
COLOURS = (BLUE, "#2f8f5b", "#8a4fa3", "#c9a227", "#111111", "#4db1c9", "#a33a5a", "#7a7a30")
_DPI = 144


def new_unit_square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure whose square axes go from 0 to 1; x, y: axis labels."""
    figure, axes = new_figure(title, x, y)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    return figure, axes


def new_figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes; x, y: axis labels."""
    figure = Figure(figsize=(5.2, 4.9), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes, title, x, y)
    return figure, axes


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title, axis labels, grid and spines."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e3e3e3", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def png_bytes(figure: Figure) -> bytes:
    """Draw the figure as a PNG."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=_DPI)  # without pyplot, Figure draws with Agg
    return out.getvalue()
