"""What a run of the scorer costs beside its speed, and what bf16 does to a trained model.

    make demo
    python bench/score_job.py --root output/demo       about 4 minutes on 2 quiet cores

guard: bf16 against fp32 with the model that was trained under --root, on the chunks of its test
admissions, at its own alert threshold: what jobs/score.py does on a sample before it takes a 16-bit
precision. tasks: Spark's own times of the tasks of a scoring stage, where the longest admission has
a hundred times the chunks of the shortest. start: seconds from spark-submit to the first score of a
model of BERT-base shape, and the memory of its workers, with 1, 2 and 4 of them.

Writes bench/results/score_job.json (machine, commit, figures).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from _machine import ROOT, describe, keep_to_cores, write_result
from score_gpu import random_bert, real_chunks

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.scoring.classifier import alert_threshold
from readmit_spark.scoring.locate import Located, locate_scorer
from readmit_spark.scoring.score_chunks import ScorerSettings, distinct_chunks, score_chunks
from readmit_spark.scoring.scorer import Scorer, compare_precisions
from readmit_spark.scoring.ship_model import ship
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.session import build_session

CORES = 2
WORKERS = (1, 2, 4)
GUARD_CHUNKS, TASK_CHUNKS = 256, 640
LAYERS = 12


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", required=True, help="output.root of prepare and finetune")
    arguments = parser.parse_args()
    keep_to_cores(CORES)
    machine = describe()
    config = load_config(
        overrides=[f"output.root={arguments.root}", "model.path=models:/readmission@champion"]
    )
    located = locate_scorer(config)
    chunks = _chunks(config)
    result: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "model": located.name}
    with tempfile.TemporaryDirectory(prefix="bench-score-job-") as folder:
        for name, measure in {
            "start": lambda: _start(Path(folder)),
            "guard": lambda: _guard(config, located, chunks),
            "tasks": lambda: _tasks(located.folder, chunks, Path(folder)),
        }.items():
            result[name] = measure()
            print(f"bench: {name}: {json.dumps(result[name])}", file=sys.stderr, flush=True)
    print(write_result("score_job", machine, result))
    return 0


def _chunks(config: Config) -> pd.DataFrame:
    root = Path(config.output_root)
    run = json.loads((root / "_manifests" / "prepare.json").read_text())["run"]
    table = ds.dataset(root / run / "chunks", partitioning="hive").to_table()
    frame = table.select(["window", "hadm_id", "chunk_index", "input_ids", "n_tokens", "split"])
    return frame.to_pandas()


def _guard(config: Config, located: Located, chunks: pd.DataFrame) -> dict[str, Any]:
    test = chunks[chunks["split"] == "test"].head(GUARD_CHUNKS)
    window = str(test["window"].iloc[0])
    threshold = alert_threshold(config, located.folder, [window])
    sample = [ids.astype(np.int32) for ids in test["input_ids"]]
    exact, half = (
        Scorer(located.folder, precision=precision).score(sample) for precision in ("fp32", "bf16")
    )
    found = compare_precisions(exact, half, threshold)
    return {
        "chunks": found.n,
        "threshold": round(threshold, 4),
        "max_probability_shift": float(f"{found.max_shift:.2e}"),
        "flips": found.flips,
        "allowed": config.score.max_probability_shift,
    }


def _tasks(model: str, chunks: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Chunks dealt to admissions of 1 to 100 chunks each, evenly in logarithms."""
    frame = chunks.head(TASK_CHUNKS).copy()
    sizes = np.round(100 ** np.random.default_rng(0).random(len(frame))).astype(int)
    sizes[:2] = 1, 100
    frame["hadm_id"] = np.repeat(np.arange(len(sizes)), sizes)[: len(frame)]
    frame["chunk_index"] = frame.groupby("hadm_id").cumcount()
    frame.drop(columns="split").to_parquet(folder / "chunks.parquet", index=False)
    log = folder / "events"
    log.mkdir()
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join(
        f"--conf spark.eventLog.{key}={value}"
        for key, value in {
            "enabled": "true", "rolling.enabled": "false", "compress": "false", "dir": log.as_uri()
        }.items()
    ) + " pyspark-shell"  # fmt: skip
    spark = build_session("bench-score-job")
    distinct = distinct_chunks(spark.read.parquet(str(folder / "chunks.parquet"))).cache()
    settings = ScorerSettings(ship(spark, model), "auto", "fp32", None)
    tasks = workload(distinct).tasks
    score_chunks(distinct.limit(64), CORES, settings, "").collect()  # each worker loads the model
    score_chunks(distinct, tasks, settings, "").collect()
    spark.stop()
    seconds = _task_seconds(log, tasks)
    lengths = frame.groupby("hadm_id").size()
    return {
        "chunks": len(frame),
        "chunks_of_the_shortest_and_longest_admission": [int(lengths.min()), int(lengths.max())],
        "seconds": [round(s, 2) for s in seconds],
        "longest_over_median": round(max(seconds) / median(seconds), 2),
    }


def _task_seconds(log: Path, tasks: int) -> list[float]:
    """Time on the executor of each task of the last stage of so many tasks."""
    ended: dict[int, list[float]] = {}
    for line in next(log.iterdir()).read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            took = event["Task Metrics"]["Executor Run Time"] / 1000
            ended.setdefault(event["Stage ID"], []).append(took)
    return ended[max(stage for stage, times in ended.items() if len(times) == tasks)]


def _start(folder: Path) -> list[dict[str, Any]]:
    """By number of workers, each with a model of its own and ten chunks to score."""
    model = random_bert(folder / "bert", LAYERS)
    bin_ = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    found = []
    for n in WORKERS:
        frame = pd.DataFrame({"input_ids": real_chunks(10 * n)})
        frame.to_parquet(folder / "start.parquet", index=False)
        command = ["spark-submit", "--master", f"local[{n}]", "--properties-file"]
        command += [str(ROOT / "conf" / "spark-local.conf"), str(ROOT / "bench" / "_start.py")]
        began = time.time()
        done = subprocess.run(
            [*command, model, str(folder / "start.parquet"), str(n), str(began)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(
                f"bench/_start.py ended with {done.returncode}: {done.stderr[-900:]}"
            )
        found.append({"workers": n, **json.loads(done.stdout.splitlines()[-1])})
    return found


if __name__ == "__main__":
    sys.exit(main())
