"""Measure what a cluster costs against local mode: score of one cohort on each, in turns.

    python bench/cluster.py                               5 minutes on 2 idle cores
    python bench/cluster.py --patients 100 --rounds 1     a quick check, 3 minutes

Claim: the seconds that the cluster adds to a scoring job of 1,000 admissions.

Both sides run jobs/score.py under spark-submit, with the same settings and two slots: local[2],
and a standalone cluster of two nodes on this machine (as in `make test-cluster`) with one
simulated GPU each. Both use the same cores and disk, so the difference is the work of the cluster
itself: it starts executors, sends code and model, and moves blocks through sockets. The model is
tiny, so that scoring does not hide this. Both sides must give the same scores, bit for bit.

Writes bench/results/cluster.json (fewer patients: cluster_small.json) with the seconds of each
stage. A difference is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe
from bench.common.results import write_result
from tests.cluster import jobs
from tests.cluster.standalone import Cluster
from tests.tiny import save_tiny_model

PATIENTS = 1000
NODES = {"a": ["0"], "b": ["1"]}


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        folder = Path(name)
        model = save_tiny_model(folder / "model")
        cluster = Cluster(folder / "cluster", NODES)
        try:
            result = _measure(cluster, folder, model, options.patients, options.rounds)
        finally:
            cluster.stop()
    path = write_result("cluster", machine, result, full=options.patients >= PATIENTS)
    print(json.dumps(result, indent=1))
    print(path)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def _measure(
    cluster: Cluster, folder: Path, model: str, patients: int, rounds: int
) -> dict[str, Any]:
    (folder / "prepared").mkdir()
    prepared = jobs.prepare(cluster, folder / "prepared", model, patients)
    sides: dict[str, list[dict[str, float]]] = {"local": [], "cluster": []}
    scores = []
    for round_ in range(rounds):
        for side, master in (("local", "local[2]"), ("cluster", None)):
            side_folder = folder / f"{side}-{round_}"
            side_folder.mkdir()
            start = time.monotonic()
            ran = jobs.score(cluster, prepared, side_folder, master=master).end()
            if ran.code:
                raise RuntimeError(ran.output)
            manifest = json.loads((ran.root / "_manifests/score.json").read_text())
            elapsed = time.monotonic() - start
            sides[side].append({"whole job": elapsed, **manifest["seconds"]})
            scores.append(ran.scores)
    if any(other != scores[0] for other in scores):
        raise RuntimeError("the scores differ")
    stages = list(sides["local"][0])
    pairs = list(zip(sides["cluster"], sides["local"], strict=True))
    return {
        "admissions": patients,
        "chunks": len(scores[0]["chunk_scores"]),
        "scores_equal_bit_for_bit": True,
        "seconds": {
            side: {stage: round(median(r[stage] for r in runs), 1) for stage in stages}
            for side, runs in sides.items()
        },
        "cluster_adds_seconds": {
            stage: round(median(a[stage] - b[stage] for a, b in pairs), 1) for stage in stages
        },
        "rounds": sides,
    }


if __name__ == "__main__":
    sys.exit(main())
