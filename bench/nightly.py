"""What the nights before save a night, and what a night costs.

    python bench/nightly.py --part counts       30 nights, each also from nothing
    python bench/nightly.py --part seconds      unchanged nights, and up to 365 nights stored
    python bench/nightly.py --part counts --nights 2 --patients 200   a rehearsal

The hospital is the demo's; for the counts its notes have 426 words, like MIMIC-III's (six chunks a
patient, where the demo's own short notes make one). The model is MiniLM under one random logit: all
of its layers for the seconds, one for the counts, which depend on neither the model nor the
machine. The seconds are those of 2 cores.

Writes its part of bench/results/nightly.json (machine, commit, figures) and draws nightly.png.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from _machine import RESULTS, describe, keep_to_cores, write_result

# Counts take no time into account, so they are made in the shortest: with one slot, a session has
# one Python worker, which then keeps its model from night to night.
CORES = {"counts": 1, "seconds": 2}
NIGHTS = 30
PATIENTS = 1600  # as conf/demo_nights.yaml
LONG_NOTES = 426  # words
SUBMIT = {
    "counts": "--conf spark.sql.shuffle.partitions=2 --conf spark.sql.codegen.wholeStage=false "
    "--driver-java-options -XX:TieredStopAtLevel=1 pyspark-shell",
    "seconds": "pyspark-shell",
}
ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def main() -> int:
    arguments = _arguments()
    os.environ.update(ENVIRONMENT)
    keep_to_cores(CORES[arguments.part])
    # Only now: the libraries read their settings as they are imported.
    from _nightly_picture import draw

    from readmit_spark.storage.session import build_session

    machine = describe()
    measure = {"counts": _counts, "seconds": _seconds}[arguments.part]
    os.environ["PYSPARK_SUBMIT_ARGS"] = SUBMIT[arguments.part]
    spark = build_session("bench")
    with tempfile.TemporaryDirectory(prefix="bench-nightly-") as folder:
        done = {arguments.part: {"machine": machine, **measure(spark, Path(folder), arguments)}}
    spark.stop()
    rehearsal = (arguments.nights, arguments.patients) != (NIGHTS, PATIENTS)
    name = "nightly_rehearsal" if rehearsal else "nightly"
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    before.pop("machine", None)
    result = {**before, **done}
    write_result(name, machine, result)
    print(json.dumps(done, indent=1))
    print(path)
    if {"counts", "seconds"} <= set(result):
        print(draw(result, path.with_suffix(".png")))
    return 0


def _counts(spark: Any, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from _nights import make_house, make_model
    from _nights_counts import count_inferences

    model = make_model(folder / "model", layers=1)
    # Ratios do not depend on the size, and a long note takes twenty times the arithmetic.
    house = make_house(folder, arguments.patients // 8, LONG_NOTES, model)
    return count_inferences(spark, house, folder, arguments.nights)


def _seconds(spark: Any, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from _nights import FIRST, make_house, make_model, run_night
    from _nights_seconds import by_nights_stored, unchanged_process

    house = make_house(folder, arguments.patients, None, make_model(folder / "model"))
    stored = by_nights_stored(spark, house, folder, arguments.rounds)
    # The processes come when this session's work is done, which then only waits.
    root = folder / "stored-1"
    run_night(spark, house, root, FIRST)
    return {"stored": stored, "process": unchanged_process(house, root, arguments.rounds)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("counts", "seconds"), required=True)
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
