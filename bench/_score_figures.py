"""What bench/score.py makes of its runs: that all ways agree, the figures, the table."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import SparkSession

TOLERANCE = {"fp32": 1e-4, "bf16": 0.02}


class Way(NamedTuple):
    """`open` gives a session's `Score`; peer: whether it is somebody else's."""

    label: str
    peer: bool
    precision: str
    open: Callable[[SparkSession, Any], Any]
    backend: str = ""


class Run(NamedTuple):
    """One turn of a way: seconds from the session's start to the first probabilities and of the
    pass that counts, the workers' time on a core in it, memory of the largest worker,
    probabilities by chunk.
    """

    start: float
    seconds: float
    cpu_seconds: float
    peak_gib: float
    unshared_gib: float
    engine: str
    probabilities: dict[int, float]


def compare(ways: dict[str, Way], runs: dict[str, list[Run]]) -> dict[str, float]:
    """The largest |P - P published| of each way, over all rounds; a fault where it is too large."""
    exact = runs["published"][0].probabilities
    spread = max(exact.values()) - min(exact.values())
    if spread < 10 * TOLERANCE["fp32"]:
        raise RuntimeError("the chunks' probabilities are too alike to tell a right way by")
    shifts = {}
    for name, way in ways.items():
        for run in runs[name]:
            if run.probabilities.keys() != exact.keys():
                raise RuntimeError(f"{way.label} did not score every chunk once")
        # numpy's maximum: Python's may pass over a NaN.
        shifts[name] = float(
            np.max([abs(run.probabilities[i] - exact[i]) for run in runs[name] for i in exact])
        )
        if not shifts[name] <= TOLERANCE[way.precision]:
            raise RuntimeError(f"{way.label}: probabilities are off by {shifts[name]:.1e}")
    return shifts


def figures(
    ways: dict[str, Way],
    runs: dict[str, list[Run]],
    shifts: dict[str, float],
    ceilings: list[dict[str, float]],
    chunks: int,
    work: tuple[float, float],
) -> dict[str, Any]:
    """By way. ceilings: GFLOP/s by kind, a round each. work: floating-point operations of a pass,
    of the whole model and of what ours computes of it."""
    whole, computed = work
    best_fp32 = [max(c["fp32 MKL"], c.get("fp32 oneDNN", 0.0)) for c in ceilings]

    def share(name: str, work: float) -> float:
        shares = zip(runs[name], best_fp32, strict=True)
        return round(median(work / run.seconds / 1e9 / best for run, best in shares), 3)

    def share_of_core(name: str) -> float:
        pairs = zip(runs[name], ceilings, strict=True)
        return round(median(whole / r.cpu_seconds / 1e9 / c["fp32, CPU time"] for r, c in pairs), 3)

    result = {}
    for name, way in ways.items():
        mine = runs[name]
        ratios = {
            peer: round(
                median(a.seconds / b.seconds for a, b in zip(runs[peer], mine, strict=True)), 2
            )
            for peer in ways
            if ways[peer].peer and peer != name
        }
        engine = mine[0].engine
        result[name] = {
            "label": way.label,
            "peer": way.peer,
            "engine": engine,
            "chunks_per_second": round(median(chunks / r.seconds for r in mine), 2),
            "chunks_per_second_rounds": [round(chunks / r.seconds, 2) for r in mine],
            "times_faster_than": ratios,
            "times_the_best_peer": min(ratios.values()),
            "share_of_fp32_ceiling": share(name, whole),
            "chunks_per_cpu_second": round(median(chunks / r.cpu_seconds for r in mine), 2),
            "share_by_cpu_time": share_of_core(name),
            "share_computed": share(name, computed if "packed" in engine else whole),
            "max_probability_shift": float(f"{shifts[name]:.1e}"),
            "start_seconds": round(median(r.start for r in mine), 1),
            "worker_peak_gib": round(max(r.peak_gib for r in mine), 2),
            "worker_unshared_gib": round(max(r.unshared_gib for r in mine), 2),
        }
    return result


def table(result: dict[str, Any]) -> str:
    """Markdown, for the README."""
    lines = [
        "| way | chunks/s | x best peer | of fp32 ceiling | the same by CPU time | largest Δp "
        "| start, s | worker, GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in result["ways"].values():
        label = f"{way['label']} ({way['engine']})" if way["engine"] else way["label"]
        lines.append(
            f"| {label} | {way['chunks_per_second']:.2f} | {way['times_the_best_peer']:.2f} "
            f"| {way['share_of_fp32_ceiling']:.0%} | {way['share_by_cpu_time']:.0%} "
            f"| {way['max_probability_shift']:.0e} "
            f"| {way['start_seconds']:.0f} | {way['worker_peak_gib']:.1f} |"
        )
    return "\n".join(lines)
