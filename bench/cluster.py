"""What a cluster costs against local mode: score of one cohort, here and there, in turns.

    python bench/cluster.py                          about 5 minutes on 2 quiet cores
    python bench/cluster.py --patients 100 --rounds 1        a rehearsal

Both run jobs/score.py under spark-submit, with the same settings and two slots: local[2], and a
standalone cluster of two nodes on this machine (as in `make test-cluster`) with a faked GPU each.
Both share its cores and disk, so what is measured is the cost of the cluster's own work: executors
that start, code and model that are sent, blocks that go through a socket. The model is tiny:
inference would hide it. Both sides must give the same scores, bit for bit.

Writes bench/results/cluster.json (machine, commit, seconds by step; a ratio or a difference is the
median over rounds).
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

from _machine import ROOT, describe, write_result

sys.path.insert(0, str(ROOT))
from tests.cluster import jobs
from tests.cluster.standalone import Cluster
from tests.tiny import save_tiny_model

NODES = {"a": ["0"], "b": ["1"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        folder = Path(name)
        model = save_tiny_model(folder / "model")
        cluster = Cluster(folder / "cluster", NODES)
        try:
            rows = _measure(cluster, folder, model, arguments.patients, arguments.rounds)
        finally:
            cluster.stop()
    print(write_result("cluster", machine, rows))
    print(json.dumps(rows, indent=1))
    return 0


def _measure(
    cluster: Cluster, folder: Path, model: str, patients: int, rounds: int
) -> dict[str, Any]:
    (folder / "prepared").mkdir()
    prepared = jobs.prepare(cluster, folder / "prepared", model, patients)
    sides: dict[str, list[dict[str, float]]] = {"local": [], "cluster": []}
    scores = []
    for turn in range(rounds):
        for side, master in (("local", "local[2]"), ("cluster", None)):
            at = folder / f"{side}-{turn}"
            at.mkdir()
            begun = time.monotonic()
            ran = jobs.score(cluster, prepared, at, master=master).end()
            if ran.code:
                raise RuntimeError(ran.said)
            run = json.loads((ran.root / "_manifests/score.json").read_text())
            sides[side].append({"whole job": time.monotonic() - begun, **run["seconds"]})
            scores.append(ran.scores)
    if any(other != scores[0] for other in scores):
        raise RuntimeError("the scores differ")
    steps = list(sides["local"][0])
    return {
        "command": f"python bench/cluster.py --patients {patients} --rounds {rounds}",
        "admissions": patients,
        "chunks": len(scores[0]["chunk_scores"]),
        "scores_equal_bit_for_bit": True,
        "seconds": {
            side: {step: round(median(r[step] for r in found), 1) for step in steps}
            for side, found in sides.items()
        },
        "cluster_adds_seconds": {
            step: round(
                median(
                    c[step] - m[step] for c, m in zip(sides["cluster"], sides["local"], strict=True)
                ),
                1,
            )
            for step in steps
        },
        "rounds": sides,
    }


if __name__ == "__main__":
    sys.exit(main())
