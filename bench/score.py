"""Measure how fast chunks are scored through Spark on a CPU, beside four other programs.

    python bench/score.py --text FILE                           5 minutes on 2 idle cores
    python bench/score.py --text FILE --chunks 96 --rounds 3    an hour, with full batches of 32
    python bench/score.py --text FILE --layers 1 --chunks 6 --rounds 1    a quick check, 2 minutes

Claims: chunks a second in fp32 and bf16 on three machines, the share of the machine's matrix
multiplication rate, how many times faster than each other program, memory of a worker, and seconds
to the first scores.

The model has BERT-base's shape and random weights. Chunks are real text of up to 318 words, about
400 tokens on average. Two processes with one thread each score, as Spark runs them on two cores.
Programs take turns, in reversed order every other round, each in a Spark session of its own with
new workers. The measured time goes from a table of chunks to probabilities at the driver, when
both workers already hold the model. It includes the fixed cost of a Spark job, which matters less
with more chunks. A ratio is the median over rounds. Every program must give the same
probabilities.

Operations are counted for tokens, never for padding, and for the whole model. Our scorer leaves out
the part of the last layer that no result depends on; `share_computed` does not count it.

Writes bench/results/score.json and score.png (--layers other than 12: score_small.json).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame, SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common import peers
from bench.common.machine import GIB, ROOT, describe, quiet_libraries, use_cores
from bench.common.multiply_rates import measure_rates
from bench.common.peers import TASKS
from bench.common.processes import peak_gib, python_workers
from bench.common.random_bert import BERT_BASE_LAYERS, HIDDEN, count_operations
from bench.common.results import write_result
from bench.common.scoring_figures import Program, Run, figures, table
from bench.common.scoring_inputs import Inputs, make_inputs, read_chunks
from bench.common.scoring_picture import draw
from bench.common.texts import add_text_option
from bench.common.timing import say, timed
from readmit_spark.scoring import onednn
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    build_scorer,
    cached_scorer,
    chunk_scores_table,
    distinct_chunks,
    score_chunks,
)
from readmit_spark.scoring.ship_model import ship
from readmit_spark.storage.session import build_session


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    quiet_libraries()
    use_cores(TASKS)
    # Spark's workers import bench.common.peers and multiply_rates.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    machine = describe("mlflow", "openvino")
    with tempfile.TemporaryDirectory(prefix="bench-score-") as folder:
        # By default MLflow would create a database in the working directory.
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        result = _measure(Path(folder), options)
    path = write_result("score", machine, result, full=options.layers == BERT_BASE_LAYERS)
    print(table(result))
    print(path, draw(result, path.with_suffix(".png")), sep="\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--chunks", type=int, default=24, help="chunks a run; an even number")
    parser.add_argument("--layers", type=int, default=BERT_BASE_LAYERS)
    add_text_option(parser)
    options = parser.parse_args(arguments)
    if options.chunks < TASKS or options.chunks % TASKS:
        parser.error("--chunks: use an even number, so that both tasks get as many")
    return options


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    java_seconds, spark = timed(_session)
    inputs = make_inputs(spark, folder, options.text, options.layers, options.chunks)
    spark.stop()
    say(f"{len(inputs.tokens)} chunks of {np.mean(inputs.tokens):.0f} tokens on average")
    programs = _programs()
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    rates = []
    for round_ in range(options.rounds):
        spark = _session()
        rates.append(measure_rates(spark, TASKS))
        spark.stop()
        say(f"round {round_ + 1}, GFLOP/s: {rates[-1]}")
        for name in list(programs)[:: -1 if round_ % 2 else 1]:
            run = _run(programs[name], inputs)
            runs[name].append(run)
            rate = len(inputs.tokens) / run.seconds
            say(f"round {round_ + 1}, {name}: {rate:.2f} chunks/s, started in {run.start:.1f} s")
    operations = count_operations(inputs.tokens, options.layers)
    return {
        "layers": options.layers,
        "rounds": options.rounds,
        "chunks": len(inputs.tokens),
        "mean_tokens": round(float(np.mean(inputs.tokens)), 1),
        "java_and_session_seconds": round(java_seconds, 1),
        "ceilings_gflops": rates,
        "ways": figures(programs, runs, rates, len(inputs.tokens), operations),
    }


def _session() -> SparkSession:
    """Open a Spark session, which starts new Python workers."""
    return build_session("bench-score")


def _run(program: Program, inputs: Inputs) -> Run:
    start = time.perf_counter()
    spark = _session()
    try:
        score = program.open(spark, inputs)
        score(read_chunks(spark, inputs.warm)).collect()
        warm_seconds = time.perf_counter() - start
        seconds, rows = timed(lambda: score(read_chunks(spark, inputs.chunks)).collect())
        peak, unshared = _worker_memory()
        engine = "" if program.peer else _engine(spark, _settings(spark, inputs, program))
    finally:
        spark.stop()
    probabilities = {row.hadm_id: row.probability for row in rows}
    return Run(warm_seconds, seconds, peak, unshared, engine, probabilities)


def _engine(spark: SparkSession, settings: ScorerSettings) -> str:
    """Ask a worker that holds our model what it computes with."""

    def ask(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict(
                {"engine": [cached_scorer(settings, build_scorer).backend]}
            )

    return spark.range(0, 1, 1, 1).mapInArrow(ask, "engine string").first().engine


def _worker_memory() -> tuple[float, float]:
    """Return GiB of the largest worker: its peak, and what it does not share now."""
    peaks, unshared = [0.0], [0.0]
    for process in python_workers():
        peaks.append(peak_gib(process.pid))
        unshared.append(process.memory_full_info().uss / GIB)
    return max(peaks), max(unshared)


def _programs() -> dict[str, Program]:
    programs = {
        "published": Program(
            "published loop: pad to 512, batch 2", True, "fp32",
            lambda spark, inputs: peers.published_loop(inputs.model),
        ),
        "pipeline": Program(
            "transformers pipeline, batch 32, in a pandas UDF", True, "fp32",
            lambda spark, inputs: peers.pipeline_udf(inputs.model),
        ),
        "predict_batch_udf": Program(
            "pyspark.ml predict_batch_udf, batch 32", True, "fp32",
            lambda spark, inputs: peers.predict_batch(inputs.model),
        ),
        "mlflow": Program(
            "mlflow.pyfunc.spark_udf", True, "fp32",
            lambda spark, inputs: peers.mlflow_udf(spark, inputs.logged),
        ),
        "ours": _ours("auto", "fp32"),
        "ours_openvino": _ours("openvino", "fp32"),
        "ours_bf16": _ours("auto", "bf16"),
    }  # fmt: skip
    if find_spec("openvino") is None:
        del programs["ours_openvino"]
    if not onednn.is_usable(HIDDEN, torch.bfloat16):
        say("bf16 is left out, because this CPU does not compute in it")
        del programs["ours_bf16"]
    return programs


def _ours(backend: str, precision: str) -> Program:
    def open_(spark: SparkSession, inputs: Inputs) -> peers.Score:
        settings = _settings(spark, inputs, program)

        def score(frame: DataFrame) -> DataFrame:
            distinct = distinct_chunks(frame)
            return chunk_scores_table(frame, score_chunks(distinct, TASKS, settings), "bench")

        return score

    program = Program(f"ours, {backend}, {precision}", False, precision, open_, backend)
    return program


def _settings(spark: SparkSession, inputs: Inputs, program: Program) -> ScorerSettings:
    return ScorerSettings(ship(spark, inputs.model), program.backend, program.precision, None)


if __name__ == "__main__":
    sys.exit(main())
