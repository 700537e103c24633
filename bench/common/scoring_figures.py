"""Check that all scoring programs agree, and compute the figures of bench/score.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import SparkSession

from bench.common.timing import median_ratio

TOLERANCE = {"fp32": 1e-4, "bf16": 0.02}


class Program(NamedTuple):
    """A program that scores chunks. `open` makes its `Score` function in a Spark session."""

    label: str
    peer: bool
    precision: str
    open: Callable[[SparkSession, Any], Any]
    backend: str = ""


class Run(NamedTuple):
    """One run of a program.

    start: seconds from opening the Spark session to the first probabilities. seconds: of the
    measured pass. peak_gib, unshared_gib: memory of the largest worker. engine: what our scorer
    computes with. probabilities: by chunk.
    """

    start: float
    seconds: float
    peak_gib: float
    unshared_gib: float
    engine: str
    probabilities: dict[int, float]


def largest_shifts(programs: dict[str, Program], runs: dict[str, list[Run]]) -> dict[str, float]:
    """Return each program's largest difference in probability from the published loop.

    Raises RuntimeError if a difference exceeds TOLERANCE, or a chunk is missing.
    """
    exact = runs["published"][0].probabilities
    spread = max(exact.values()) - min(exact.values())
    if spread < 10 * TOLERANCE["fp32"]:
        raise RuntimeError("the chunks' probabilities are too similar to detect a wrong program")
    shifts = {}
    for name, program in programs.items():
        for run in runs[name]:
            if run.probabilities.keys() != exact.keys():
                raise RuntimeError(f"{program.label} did not score every chunk once")
        # numpy's maximum, because Python's can ignore a NaN.
        shifts[name] = float(
            np.max([abs(run.probabilities[i] - exact[i]) for run in runs[name] for i in exact])
        )
        if not shifts[name] <= TOLERANCE[program.precision]:
            raise RuntimeError(f"{program.label}: probabilities are off by {shifts[name]:.1e}")
    return shifts


def figures(
    programs: dict[str, Program],
    runs: dict[str, list[Run]],
    rates: Sequence[dict[str, float]],
    chunks: int,
    operations: tuple[float, float],
) -> dict[str, Any]:
    """Return the figures of each program.

    rates: GFLOP/s by kind, for each round. operations: floating-point operations of a pass, of the
    whole model and of the part that we compute.
    """
    whole, computed = operations
    shifts = largest_shifts(programs, runs)
    ceilings = [max(r["fp32 MKL"], r.get("fp32 oneDNN", 0.0)) for r in rates]

    def share(name: str, operations: float) -> float:
        pairs = zip(runs[name], ceilings, strict=True)
        return round(median(operations / run.seconds / 1e9 / c for run, c in pairs), 3)

    result = {}
    for name, program in programs.items():
        own = runs[name]
        ratios = {
            peer: median_ratio([r.seconds for r in runs[peer]], [r.seconds for r in own])
            for peer in programs
            if programs[peer].peer and peer != name
        }
        engine = own[0].engine
        result[name] = {
            "label": program.label,
            "peer": program.peer,
            "engine": engine,
            "chunks_per_second": round(median(chunks / r.seconds for r in own), 2),
            "chunks_per_second_rounds": [round(chunks / r.seconds, 2) for r in own],
            "times_faster_than": ratios,
            "times_the_best_peer": min(ratios.values()),
            "share_of_fp32_ceiling": share(name, whole),
            "share_computed": share(name, computed if "packed" in engine else whole),
            "max_probability_shift": float(f"{shifts[name]:.1e}"),
            "start_seconds": round(median(r.start for r in own), 1),
            "worker_peak_gib": round(max(r.peak_gib for r in own), 2),
            "worker_unshared_gib": round(max(r.unshared_gib for r in own), 2),
        }
    return result


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| program | chunks/s | x best peer | of ceiling | largest Δp | start, s | worker, GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["ways"].values():
        label = f"{row['label']} ({row['engine']})" if row["engine"] else row["label"]
        lines.append(
            f"| {label} | {row['chunks_per_second']:.2f} | {row['times_the_best_peer']:.2f} "
            f"| {row['share_of_fp32_ceiling']:.0%} "
            f"| {row['max_probability_shift']:.0e} "
            f"| {row['start_seconds']:.0f} | {row['worker_peak_gib']:.1f} |"
        )
    return "\n".join(lines)
