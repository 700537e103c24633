"""Measure how fast this machine multiplies matrices in Spark's workers.

There is one process a core, with one thread each, and all multiply at the same time. Rates are the
ceiling that scoring is compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

ROWS, INNER, OUTER = 2048, 768, 3072  # a batch's tokens through BERT-base's widest layer
SECONDS = 1.5  # of each kind


def measure_rates(spark: SparkSession, tasks: int) -> dict[str, float]:
    """Return GFLOP/s of all processes together, by kind: `fp32 MKL`, `fp32 oneDNN` and `bf16`.

    `fp32 oneDNN` is missing if this CPU cannot use it. Raises RuntimeError if a worker has
    more than one thread.
    """
    schema = "kind string, rate double, threads long"
    rows = spark.range(0, tasks, 1, tasks).mapInArrow(_multiply, schema, barrier=True).collect()
    if any(row.threads != 1 for row in rows):
        raise RuntimeError("a worker computes with several threads: unset OMP_NUM_THREADS")
    kinds = dict.fromkeys(row.kind for row in rows)
    return {kind: round(sum(r.rate for r in rows if r.kind == kind), 1) for kind in kinds}


def _multiply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import torch
    import torch.nn.functional as F

    from readmit_spark.scoring import onednn

    for _ in batches:
        pass
    x, weight, bias = torch.randn(ROWS, INNER), torch.randn(OUTER, INNER), torch.randn(OUTER)
    low = [part.bfloat16() for part in (x, weight, bias)]
    products: dict[str, Callable[[], torch.Tensor]] = {
        "fp32 MKL": lambda: F.linear(x, weight, bias)
    }
    if onednn.is_usable(INNER):
        exact = onednn.OneDnnDense(weight, bias)
        products["fp32 oneDNN"] = lambda: exact(x)
    if onednn.is_usable(INNER, torch.bfloat16):
        half = onednn.OneDnnDense(low[1], low[2])
        products["bf16"] = lambda: half(low[0])
    else:
        products["bf16"] = lambda: F.linear(*low)
    rates = []
    for product in products.values():
        with torch.inference_mode():
            product()
            BarrierTaskContext.get().barrier()
            rates.append(_gflops(product))
    threads = [torch.get_num_threads()] * len(products)
    yield pa.RecordBatch.from_pydict({"kind": list(products), "rate": rates, "threads": threads})


def _gflops(product: Callable[[], object]) -> float:
    calls, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS:
        product()
        calls += 1
    return 2e-9 * ROWS * INNER * OUTER * calls / seconds
