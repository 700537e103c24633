"""How fast this machine multiplies matrices the way Spark would have it do: a process a core, one
thread each, all at once. Spark ships this file to the workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

ROWS, INNER, OUTER = 2048, 768, 3072  # a batch's tokens through BERT-base's widest layer
SECONDS = 1.5  # a kind


def measure_ceilings(spark: SparkSession, tasks: int) -> dict[str, float]:
    """GFLOP/s of all processes together: `fp32 MKL`, `fp32 oneDNN`, `bf16`. And `fp32, CPU time`:
    the faster fp32 kind's GFLOP a second on a core, which others on the machine slow down less."""
    schema = "kind string, rate double, cpu_rate double, threads long"
    rows = spark.range(0, tasks, 1, tasks).mapInArrow(_multiply, schema, barrier=True).collect()
    if any(row.threads != 1 for row in rows):
        raise RuntimeError("a worker computes with several threads: unset OMP_NUM_THREADS")
    kinds = dict.fromkeys(row.kind for row in rows)
    rates = {kind: sum(row.rate for row in rows if row.kind == kind) for kind in kinds}
    on_core = [
        sum(row.cpu_rate for row in rows if row.kind == kind) / tasks
        for kind in kinds
        if kind.startswith("fp32")
    ]
    return {**rates, "fp32, CPU time": max(on_core)}


def _multiply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import torch
    import torch.nn.functional as F

    from readmit_spark.scoring import onednn

    for _ in batches:
        pass
    x, weight, bias = torch.randn(ROWS, INNER), torch.randn(OUTER, INNER), torch.randn(OUTER)
    low = [part.bfloat16() for part in (x, weight, bias)]
    works: dict[str, Callable[[], torch.Tensor]] = {"fp32 MKL": lambda: F.linear(x, weight, bias)}
    if onednn.usable(INNER):
        exact = onednn.OneDnnDense(weight, bias)
        works["fp32 oneDNN"] = lambda: exact(x)
    if onednn.usable(INNER, torch.bfloat16):
        half = onednn.OneDnnDense(low[1], low[2])
        works["bf16"] = lambda: half(low[0])
    else:
        works["bf16"] = lambda: F.linear(*low)
    rates = []
    for work in works.values():
        with torch.inference_mode():
            work()
            BarrierTaskContext.get().barrier()
            rates.append(_rate(work))
    threads = [torch.get_num_threads()] * len(works)
    wall, cpu = zip(*rates, strict=True)
    yield pa.RecordBatch.from_pydict(
        {"kind": list(works), "rate": wall, "cpu_rate": cpu, "threads": threads}
    )


def _rate(work: Callable[[], object]) -> tuple[float, float]:
    """GFLOP by wall time and by CPU time."""
    calls, start, cpu = 0, time.perf_counter(), time.process_time()
    while (taken := time.perf_counter() - start) < SECONDS:
        work()
        calls += 1
    done = 2e-9 * ROWS * INNER * OUTER * calls
    return done / taken, done / (time.process_time() - cpu)
