"""The figures of bench/prepare.py as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PARTS = ("read", "join", "clean", "chunk", "tokenise", "write")


def draw(result: dict[str, Any], path: Path) -> Path:
    """Seconds against notes, seconds by part, peak memory against notes."""
    figure, (growth, parts, memory) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for kind in ("parquet", "csv"):
        rows = [row for row in result["prepare"] if row["format"] == kind]
        exponent = result["growth_exponent"][kind]["two_largest"]
        x = [row["notes"] for row in rows]
        label = f"prepare, {kind} (exponent {exponent:.2f})"
        growth.plot(x, [row["seconds"] for row in rows], "o-", label=label)
        memory.plot(x, [row["peak_gib"]["total"] for row in rows], "o-", label=f"total, {kind}")
        memory.plot(x, [row["peak_gib"]["python"] for row in rows], "s:", label=f"Python, {kind}")
    rows = result["published"]["rows"]
    label = "published algorithm, no tokens"
    growth.plot([r["notes"] for r in rows], [r["seconds"] for r in rows], "^--", label=label)
    growth.set(xscale="log", yscale="log", xlabel="notes", ylabel="seconds", title="Growth")
    growth.legend(fontsize=8)

    seconds = result["parts"]["seconds"]
    bars = parts.barh(PARTS, [max(0.0, seconds[name]) for name in PARTS])
    parts.bar_label(bars, fmt="%.1f", padding=2)
    parts.invert_yaxis()
    parts.margins(x=0.15)
    parts.set(xlabel="seconds", title=f"By part, {result['parts']['notes']:,} notes")

    memory.set(xscale="log", xlabel="notes", ylabel="GiB", title="Peak resident memory")
    memory.set_ylim(bottom=0)
    memory.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
