"""Runs the ways of bench/score.py in turn, each in a Spark session of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _peers_score as peers
import numpy as np
import pyarrow as pa
import torch
from _ceilings import measure_ceilings
from _machine import GIB, peak_gib, workers
from _peers_score import TASKS
from _score_figures import Run, Way, compare, figures
from _score_inputs import Inputs, make_inputs, read
from pyspark.sql import DataFrame, SparkSession
from score_gpu import HIDDEN, flops

from readmit_spark.scoring import onednn
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    _cached_scorer,
    build_scorer,
    distinct_chunks,
    score_chunks,
)
from readmit_spark.scoring.ship_model import ship
from readmit_spark.storage.session import build_session


def measure(folder: Path, text: Path, layers: int, chunks: int, rounds: int) -> dict[str, Any]:
    """All figures; folder: scratch space for model and chunks."""
    start = time.perf_counter()
    spark = _session()
    java = time.perf_counter() - start
    inputs = make_inputs(spark, folder, text, layers, chunks)
    spark.stop()
    _say(f"{len(inputs.tokens)} chunks of {np.mean(inputs.tokens):.0f} tokens on average")
    ways = _ways()
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    ceilings = []
    for round_ in range(rounds):
        spark = _session()
        ceilings.append(measure_ceilings(spark, TASKS))
        spark.stop()
        _say(f"round {round_ + 1}, GFLOP/s: {_rounded(ceilings[-1])}")
        for name in list(ways)[:: -1 if round_ % 2 else 1]:
            run = _run(ways[name], inputs)
            runs[name].append(run)
            rate = len(inputs.tokens) / run.seconds
            _say(f"round {round_ + 1}, {name}: {rate:.2f} chunks/s, started in {run.start:.1f} s")
    shifts = compare(ways, runs)
    for name, shift in shifts.items():
        _say(f"{name}: largest |dp| {shift:.1e}")
    work = flops([np.empty(n) for n in inputs.tokens], layers)
    return {
        "command": " ".join(["python", *sys.argv]),
        "layers": layers,
        "rounds": rounds,
        "chunks": len(inputs.tokens),
        "mean_tokens": round(float(np.mean(inputs.tokens)), 1),
        "java_and_session_seconds": round(java, 1),
        "ceilings_gflops": [_rounded(ceiling) for ceiling in ceilings],
        "ways": figures(ways, runs, shifts, ceilings, len(inputs.tokens), work),
    }


def _session() -> SparkSession:
    """A new one, whose workers start anew, with the two modules that they import."""
    spark = build_session("bench-score")
    for module in ("_peers_score", "_ceilings"):
        spark.sparkContext.addPyFile(str(Path(__file__).with_name(f"{module}.py")))
    return spark


def _run(way: Way, inputs: Inputs) -> Run:
    start = time.perf_counter()
    spark = _session()
    try:
        score = way.open(spark, inputs)
        score(read(spark, inputs.warm)).collect()
        warm = time.perf_counter()
        cpu = _worker_cpu()
        rows = score(read(spark, inputs.chunks)).collect()
        seconds, cpu = time.perf_counter() - warm, _worker_cpu() - cpu
        peak, unshared = _worker_memory()
        engine = "" if way.peer else _engine(spark, _settings(spark, inputs, way))
    finally:
        spark.stop()
    probabilities = {row.hadm_id: row.probability for row in rows}
    return Run(warm - start, seconds, cpu, peak, unshared, engine, probabilities)


def _engine(spark: SparkSession, settings: ScorerSettings) -> str:
    """What ours computes with, asked of a worker that holds the model."""

    def ask(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict(
                {"engine": [_cached_scorer(settings, build_scorer).backend]}
            )

    return spark.range(0, 1, 1, 1).mapInArrow(ask, "engine string").first().engine


def _worker_memory() -> tuple[float, float]:
    """GiB of the largest worker: the peak of all that it maps, and what now is its own alone."""
    peaks, own = [0.0], [0.0]
    for process in workers():
        peaks.append(peak_gib(process.pid))
        own.append(process.memory_full_info().uss / GIB)
    return max(peaks), max(own)


def _worker_cpu() -> float:
    """Seconds on a core of all workers, since they began."""
    return sum(times.user + times.system for times in (p.cpu_times() for p in workers()))


def _ways() -> dict[str, Way]:
    ways = {
        "published": Way(
            "published loop: pad to 512, batch 2", True, "fp32",
            lambda spark, inputs: peers.published_loop(inputs.model),
        ),
        "pipeline": Way(
            "transformers pipeline, batch 32, in a pandas UDF", True, "fp32",
            lambda spark, inputs: peers.pipeline_udf(inputs.model),
        ),
        "predict_batch_udf": Way(
            "pyspark.ml predict_batch_udf, batch 32", True, "fp32",
            lambda spark, inputs: peers.predict_batch(inputs.model),
        ),
        "mlflow": Way(
            "mlflow.pyfunc.spark_udf", True, "fp32",
            lambda spark, inputs: peers.mlflow_udf(spark, inputs.logged),
        ),
        "ours": _ours("auto", "fp32"),
        "ours_openvino": _ours("openvino", "fp32"),
        "ours_bf16": _ours("auto", "bf16"),
    }  # fmt: skip
    if find_spec("openvino") is None:
        del ways["ours_openvino"]
    if not onednn.usable(HIDDEN, torch.bfloat16):
        _say("bf16 is left out: this CPU does not compute in it; its rate is among the GFLOP/s")
        del ways["ours_bf16"]
    return ways


def _ours(backend: str, precision: str) -> Way:
    def open_(spark: SparkSession, inputs: Inputs) -> peers.Score:
        settings = _settings(spark, inputs, way)

        def score(frame: DataFrame) -> DataFrame:
            return score_chunks(distinct_chunks(frame), TASKS, settings, "bench")

        return score

    way = Way(f"ours, {backend}, {precision}", False, precision, open_, backend)
    return way


def _settings(spark: SparkSession, inputs: Inputs, way: Way) -> ScorerSettings:
    return ScorerSettings(ship(spark, inputs.model), way.backend, way.precision, None)


def _rounded(rates: dict[str, float]) -> dict[str, float]:
    return {name: round(rate, 1) for name, rate in rates.items()}


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
