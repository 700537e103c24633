"""Draw the figures of bench/score.py (docs/score.png)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

PEER, OURS = "#9aa5b1", "#1f6fb2"


def draw(result: dict[str, Any], path: Path) -> Path:
    """Draw chunks a second of each program, with its share of the fp32 ceiling."""
    programs = list(result["ways"].values())
    rates = [program["chunks_per_second"] for program in programs]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(programs) + 1.6), layout="constrained")
    bars = axes.barh(
        [program["label"] for program in programs],
        rates,
        color=[PEER if program["peer"] else OURS for program in programs],
    )
    texts = [
        f"{rate:.2f}  ({program['share_of_fp32_ceiling']:.0%} of the fp32 ceiling)"
        for program, rate in zip(programs, rates, strict=True)
    ]
    axes.bar_label(bars, texts, padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(right=1.7 * max(rates))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(
        f"chunks a second through Spark, 2 cores ({result['layers']} layers, "
        f"{result['mean_tokens']:.0f} tokens a chunk)"
    )
    figure.legend(
        handles=[Patch(color=OURS, label="readmit-spark"), Patch(color=PEER, label="others")],
        loc="outside upper right",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
