"""The figures of bench/nightly.py as one picture."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OTHER, OURS, LEAST = "#9aa5b1", "#1f6fb2", "#d1495b"


def draw(result: dict[str, Any], path: Path) -> Path:
    """Chunks scored as the nights go by, and seconds by the number of nights stored."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    _draw_counts(axes[0], result["counts"])
    _draw_seconds(axes[1], result["seconds"])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _draw_counts(panel: Any, house: dict[str, Any]) -> None:
    nights = range(1, house["nights"] + 1)
    for name, label, style in (
        ("everything", "all patients in the house", {"color": OTHER}),
        ("with_store", "what is new", {"color": OURS, "lw": 3}),
        ("at_best", "least possible", {"color": LEAST, "ls": ":"}),
    ):
        panel.plot(nights, list(accumulate(r[name] for r in house["by_night"])), label=label,
                   **style)  # fmt: skip
    panel.set(title="Chunks scored", xlabel="nights", ylabel="chunks so far")
    panel.legend(fontsize=8, frameon=False)


def _draw_seconds(panel: Any, seconds: dict[str, Any]) -> None:
    stored = seconds["stored"]["seconds"]
    for nights, all_ in stored.items():
        panel.plot([int(nights)] * len(all_), all_, "o", color=OTHER, ms=4)
    middle = seconds["stored"]["median"]
    panel.plot([int(n) for n in middle], list(middle.values()), "o-", color=OURS, label="median")
    whole = seconds["process"]
    panel.axhline(whole["seconds"], color=LEAST, ls=":", label="with the start of Java and Python")
    panel.set(
        title=f"A night with nothing new, {whole['patients']} patients",
        xlabel="nights stored",
        ylabel="seconds",
    )
    panel.legend(fontsize=8, frameon=False)
