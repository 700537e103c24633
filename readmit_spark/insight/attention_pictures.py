"""Attention maps as pictures: rows are tokens that read, columns are tokens that are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from readmit_spark.pages.canvas import png_bytes

_MOST_NAMED = 64  # tokens that an axis can name legibly
_COLOURS = "Blues"

Map = NDArray[np.floating]


def one_map(values: Map, tokens: Sequence[str] | None, *, title: str) -> bytes:
    """One map [tokens, tokens], with the tokens on both axes (of many, every so many), or their
    numbers where they may not be shown."""
    n = len(values)
    step = -(-n // _MOST_NAMED)
    side = 5.2 if tokens is None else min(11.0, max(5.2, 2.0 + 0.2 * n))
    figure = Figure(figsize=(side, side * 0.95), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(values, cmap=_COLOURS, vmin=0, interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="left")
    if tokens is not None:
        names = [_plain(token) for token in tokens[::step]]
        axes.set_xticks(range(0, n, step), names, rotation=90, fontsize=8)
        axes.set_yticks(range(0, n, step), names, fontsize=8)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("is read" if tokens is not None else "token that is read, by number")
    axes.set_ylabel("reads" if tokens is not None else "token that reads, by number")
    figure.colorbar(shown, ax=axes, shrink=0.7)
    return png_bytes(figure)


def layer_grid(maps: Map) -> bytes:
    """The heads of a layer, [heads, tokens, tokens], side by side."""
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
    figure.supxlabel("token that is read, by number", fontsize=8)
    figure.supylabel("token that reads, by number", fontsize=8)
    return png_bytes(figure)


def all_maps(maps: Map) -> bytes:
    """Every layer (a row each, the first on top) and head of [layers, heads, tokens, tokens]."""
    layers, heads = maps.shape[:2]
    # One picture of tiles: an axes a map would take a minute for BERT-base's 144.
    tile = 72
    pick = np.linspace(0, maps.shape[-1] - 1, min(tile, maps.shape[-1])).round().astype(int)
    small = maps[:, :, pick][:, :, :, pick]
    # Each in its own scale, or the sharp ones hide the others.
    small = small / np.maximum(small.max(axis=(2, 3), keepdims=True), 1e-12)
    gap = np.full((layers, heads, len(pick) + 2, len(pick) + 2), np.nan)
    gap[:, :, 1:-1, 1:-1] = small
    size = gap.shape[-1]
    whole = gap.transpose(0, 2, 1, 3).reshape(layers * size, heads * size)
    figure = Figure(figsize=(0.75 * heads + 1, 0.75 * layers + 0.8), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(whole, cmap=_COLOURS, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(np.arange(heads) * size + size / 2, np.arange(1, heads + 1), fontsize=8)
    axes.set_yticks(np.arange(layers) * size + size / 2, np.arange(1, layers + 1), fontsize=8)
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return png_bytes(figure)


def _plain(token: str) -> str:
    """Matplotlib reads what stands between two dollars as mathematics."""
    return token.replace("$", r"\$")
