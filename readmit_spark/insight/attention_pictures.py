"""Draw attention maps. Rows are attending tokens, columns are the tokens they attend to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from readmit_spark.pages.canvas import png_bytes

_MAX_LABELS = 64  # more labels on an axis are not legible
_COLOURS = "Blues"

Map = NDArray[np.floating]


def one_map(values: Map, tokens: Sequence[str] | None, *, title: str) -> bytes:
    """Draw one map [tokens, tokens].

    tokens: labels of both axes, thinned out if there are many; None draws numbers instead.
    """
    n = len(values)
    step = -(-n // _MAX_LABELS)
    side = 5.2 if tokens is None else min(11.0, max(5.2, 2.0 + 0.2 * n))
    figure = Figure(figsize=(side, side * 0.95), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(values, cmap=_COLOURS, vmin=0, interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="left")
    if tokens is not None:
        names = [_escape(token) for token in tokens[::step]]
        axes.set_xticks(range(0, n, step), names, rotation=90, fontsize=8)
        axes.set_yticks(range(0, n, step), names, fontsize=8)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("attended to" if tokens is not None else "number of the token attended to")
    axes.set_ylabel("attending" if tokens is not None else "number of the attending token")
    figure.colorbar(shown, ax=axes, shrink=0.7)
    return png_bytes(figure)


def layer_grid(maps: Map) -> bytes:
    """Draw the heads of a layer, [heads, tokens, tokens], side by side."""
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(2.0 * columns, 2.15 * rows), layout="constrained")
    for head, axes in enumerate(np.ravel(figure.subplots(rows, columns))):
        if head >= len(maps):
            axes.set_axis_off()
            continue
        axes.imshow(maps[head], cmap=_COLOURS, vmin=0, interpolation="nearest")
        axes.set_title(f"head {head + 1}", fontsize=8)
        axes.tick_params(labelsize=6)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(3, integer=True))
    figure.supxlabel("number of the token attended to", fontsize=8)
    figure.supylabel("number of the attending token", fontsize=8)
    return png_bytes(figure)


def all_maps(maps: Map) -> bytes:
    """Draw all maps [layers, heads, tokens, tokens], one row for each layer, the first on top."""
    layers, heads = maps.shape[:2]
    # One image of tiles: separate axes would take a minute for the 144 maps of BERT-base.
    tile = 72
    pick = np.linspace(0, maps.shape[-1] - 1, min(tile, maps.shape[-1])).round().astype(int)
    small = maps[:, :, pick][:, :, :, pick]
    # Each map has its own scale, since maps with sharp peaks would hide the others.
    small = small / np.maximum(small.max(axis=(2, 3), keepdims=True), 1e-12)
    tiles = np.full((layers, heads, len(pick) + 2, len(pick) + 2), np.nan)  # with a border
    tiles[:, :, 1:-1, 1:-1] = small
    size = tiles.shape[-1]
    image = tiles.transpose(0, 2, 1, 3).reshape(layers * size, heads * size)
    figure = Figure(figsize=(0.75 * heads + 1, 0.75 * layers + 0.8), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(image, cmap=_COLOURS, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(np.arange(heads) * size + size / 2, np.arange(1, heads + 1), fontsize=8)
    axes.set_yticks(np.arange(layers) * size + size / 2, np.arange(1, layers + 1), fontsize=8)
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return png_bytes(figure)


def _escape(token: str) -> str:
    """Escape dollar signs: matplotlib interprets text between two of them as mathematics."""
    return token.replace("$", r"\$")
