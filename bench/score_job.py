"""Measure what a scoring job costs beside its speed, and what bf16 changes with a trained model.

    make demo
    python bench/score_job.py --root output/demo                4 minutes on 2 idle cores
    python bench/score_job.py --root output/demo --layers 1     a quick check, 2 minutes

Claims: seconds from spark-submit to the first score, memory of 1, 2 and 4 workers (start); the
longest task beside the median if one admission has a hundred times the chunks of another
(tasks); the largest shift of a probability and the decisions that change in bf16 (precision).

start: a model of BERT-base's shape with random weights. tasks: Spark's own task times. precision:
the model that was trained under --root, on the chunks of its test admissions, at its own alert
threshold, as jobs/score.py does on a sample before it uses a 16-bit precision.

Writes bench/results/score_job.json (--layers other than 12: score_job_small.json).
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import ROOT, describe, quiet_libraries, use_cores
from bench.common.random_bert import BERT_BASE_LAYERS, random_bert, random_chunks
from bench.common.results import write_result
from bench.common.timing import say
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.scoring.model import Model, resolve_scorer
from readmit_spark.scoring.score_chunks import ScorerSettings, distinct_chunks, score_chunks
from readmit_spark.scoring.scorer import Scorer, compare_precisions
from readmit_spark.scoring.ship_model import ship
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.session import build_session

CORES = 2
WORKERS = (1, 2, 4)
PRECISION_CHUNKS, TASK_CHUNKS = 256, 640


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    quiet_libraries()
    use_cores(CORES)
    machine = describe()
    config = load_config(
        overrides=[f"output.root={options.root}", "model.path=models:/readmission@champion"]
    )
    model = resolve_scorer(config)
    chunks = _read_chunks(config)
    result: dict[str, Any] = {"model": model.name}
    with tempfile.TemporaryDirectory(prefix="bench-score-job-") as folder:
        for name, measure in {
            "start": lambda: _start(Path(folder), options.layers),
            "precision": lambda: _precision(config, model, chunks),
            "tasks": lambda: _tasks(model.folder, chunks, Path(folder)),
        }.items():
            result[name] = measure()
            say(f"{name}: {json.dumps(result[name])}")
    print(write_result("score_job", machine, result, full=options.layers == BERT_BASE_LAYERS))
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="output.root of prepare and finetune")
    parser.add_argument("--layers", type=int, default=BERT_BASE_LAYERS, help="of the start's model")
    return parser.parse_args(arguments)


def _read_chunks(config: Config) -> pd.DataFrame:
    root = Path(config.output_root)
    run = json.loads((root / "_manifests" / "prepare.json").read_text())["run"]
    table = ds.dataset(root / run / "chunks", partitioning="hive").to_table()
    frame = table.select(["window", "hadm_id", "chunk_index", "input_ids", "n_tokens", "split"])
    return frame.to_pandas()


def _precision(config: Config, model: Model, chunks: pd.DataFrame) -> dict[str, Any]:
    test = chunks[chunks["split"] == "test"].head(PRECISION_CHUNKS)
    window = str(test["window"].iloc[0])
    threshold = model.alert_threshold(config, [window])
    sample = [ids.astype(np.int32) for ids in test["input_ids"]]
    exact, half = (
        Scorer(model.folder, precision=precision).score(sample) for precision in ("fp32", "bf16")
    )
    shift = compare_precisions(exact, half, threshold)
    return {
        "chunks": shift.n,
        "threshold": round(threshold, 4),
        "max_probability_shift": float(f"{shift.max_shift:.2e}"),
        "flips": shift.flips,
        "allowed": config.score.max_probability_shift,
    }


def _tasks(model: str, chunks: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Score chunks of admissions with 1 to 100 chunks each, and return Spark's task times."""
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
    chunks = with_digest(spark.read.parquet(str(folder / "chunks.parquet")))
    distinct = distinct_chunks(chunks).cache()
    settings = ScorerSettings(ship(spark, model), "auto", "fp32", None)
    tasks = workload(distinct).tasks
    score_chunks(distinct.limit(64), CORES, settings).collect()  # each worker loads the model
    score_chunks(distinct, tasks, settings).collect()
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
    """Return the executor's seconds for each task of the last Spark stage with `tasks` tasks."""
    by_stage: dict[int, list[float]] = {}
    for line in next(log.iterdir()).read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            seconds = event["Task Metrics"]["Executor Run Time"] / 1000
            by_stage.setdefault(event["Stage ID"], []).append(seconds)
    return by_stage[max(stage for stage, times in by_stage.items() if len(times) == tasks)]


def _start(folder: Path, layers: int) -> list[dict[str, Any]]:
    """Submit bench/common/first_score.py for each number of workers, with ten chunks a worker."""
    model = random_bert(folder / "bert", layers)
    bin_ = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    program = ROOT / "bench" / "common" / "first_score.py"
    rows = []
    for n in WORKERS:
        frame = pd.DataFrame({"input_ids": random_chunks(10 * n)})
        frame.to_parquet(folder / "start.parquet", index=False)
        command = ["spark-submit", "--master", f"local[{n}]", "--properties-file"]
        command += [str(ROOT / "conf" / "spark-local.conf"), str(program), model]
        command += [str(folder / "start.parquet"), str(n), str(time.time())]
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
        if finished.returncode:
            error = finished.stderr[-900:]
            raise RuntimeError(f"{program.name} ended with {finished.returncode}: {error}")
        rows.append({"workers": n, **json.loads(finished.stdout.splitlines()[-1])})
    return rows


if __name__ == "__main__":
    sys.exit(main())
