"""What a night without news costs: as a process, and with more and more nights stored."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _machine import ROOT, Watch
from _nights import FIRST, House, forget, read_manifest, run_night, say, store_copies
from pyspark.sql import SparkSession

STORED = (1, 30, 365)


def unchanged_process(house: House, root: Path, rounds: int) -> dict[str, Any]:
    """`python jobs/nightly.py` from its start to its exit, a second after a night that has been
    run."""
    runs, steps = [], []
    for round_ in range(rounds):
        as_of = FIRST + timedelta(seconds=1 + round_)
        command = [sys.executable, str(ROOT / "jobs" / "nightly.py")]
        command += ["--as-of", as_of.isoformat(), "--config", str(ROOT / "conf" / "local.yaml")]
        for override in house.overrides(root):
            command += ["--set", override]
        start = time.monotonic()
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            with Watch(process.pid) as watch:
                code = process.wait()
            seconds = time.monotonic() - start
            if code:
                log.seek(0)
                raise RuntimeError(f"jobs/nightly.py ended with {code}:\n{log.read()[-2000:]}")
        manifest = read_manifest(root, as_of)
        _check_nothing_new(manifest)
        runs.append(
            {
                "seconds": round(seconds, 1),
                "cpu_seconds": round(watch.cpu_seconds, 1),
                "peak_gib": watch.peak_gib(),
            }
        )
        steps.append(manifest["seconds"])
        say(f"unchanged night, round {round_ + 1}: {runs[-1]}")
        forget(root, as_of)
    return {
        "patients": manifest["counts"]["in_house"],
        "chunks": manifest["counts"]["chunks"],
        "chunks_scored": manifest["counts"]["chunks_to_score"],
        "seconds": median(run["seconds"] for run in runs),
        "seconds_by_step": {name: median(one[name] for one in steps) for name in steps[0]},
        "runs": runs,
    }


def by_nights_stored(
    spark: SparkSession, house: House, scratch: Path, rounds: int
) -> dict[str, Any]:
    """An unchanged night in a Spark session that runs already, by the nights stored before it."""
    roots = {stored: scratch / f"stored-{stored}" for stored in STORED}
    for stored, root in roots.items():
        run_night(spark, house, root, FIRST)
        store_copies(root, FIRST, stored)
    seconds: dict[int, list[float]] = {stored: [] for stored in STORED}
    for round_ in range(-1, rounds):  # a round to warm up
        for stored in STORED[:: -1 if round_ % 2 else 1]:
            as_of = FIRST + timedelta(seconds=2 + round_)
            start = time.monotonic()
            manifest = run_night(spark, house, roots[stored], as_of)
            took = time.monotonic() - start
            _check_nothing_new(manifest)
            forget(roots[stored], as_of)
            if round_ >= 0:
                seconds[stored].append(round(took, 2))
                say(f"{stored} nights stored, round {round_ + 1}: {took:.1f} s")
    points = [(stored, took) for stored, all_ in seconds.items() for took in all_]
    slope = np.polyfit(*zip(*points, strict=True), 1)[0]
    most, least = seconds[STORED[-1]], seconds[STORED[0]]
    return {
        "seconds": {str(stored): all_ for stored, all_ in seconds.items()},
        "median": {str(stored): median(all_) for stored, all_ in seconds.items()},
        "slope_seconds_a_100_nights": round(100 * float(slope), 3),
        f"ratio_{STORED[-1]}_to_{STORED[0]}": round(
            median(a / b for a, b in zip(most, least, strict=True)), 3
        ),
        f"ratio_{STORED[-1]}_to_{STORED[1]}": round(
            median(a / b for a, b in zip(most, seconds[STORED[1]], strict=True)), 3
        ),
    }


def _check_nothing_new(manifest: dict[str, Any]) -> None:
    counts = manifest["counts"]
    if counts["chunks_to_score"] or counts["documents_prepared"]:
        raise RuntimeError(f"the night of {manifest['as_of']} was to have nothing new: {counts}")
