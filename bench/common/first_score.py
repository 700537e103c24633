"""The Spark program that bench/score_job.py submits.

It scores one chunk, then ten chunks in each of n workers, and prints the seconds until the first
score and the workers' memory as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time

import psutil
from pyspark.sql import functions as F

from bench.common.machine import GIB
from bench.common.processes import peak_gib, python_workers
from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.scoring.score_chunks import ScorerSettings, distinct_chunks, score_chunks
from readmit_spark.scoring.ship_model import ship
from readmit_spark.storage.session import build_session


def main(model: str, chunks: str, n: int, started: float) -> None:
    spark = build_session("bench-start")
    settings = ScorerSettings(ship(spark, model), "auto", "fp32", None)
    ids = spark.read.parquet(chunks).select("input_ids", F.size("input_ids").alias("n_tokens"))
    frame = with_digest(ids)
    score_chunks(distinct_chunks(frame.limit(1)), 1, settings).collect()
    first = time.time() - started
    score_chunks(distinct_chunks(frame), n, settings).collect()
    java = psutil.Process().parent()  # spark-submit
    memory = [(process, process.memory_full_info()) for process in python_workers(java)]
    with_model = [(process, info) for process, info in memory if info.rss > 0.25 * GIB]
    print(
        json.dumps(
            {
                "seconds_to_first_score": round(first, 1),
                "models": len(with_model),
                "peak_gib": [round(peak_gib(process.pid), 2) for process, _ in with_model],
                "unshared_gib": [round(info.uss / GIB, 2) for _, info in with_model],
                "workers_together_gib": round(sum(info.pss for _, info in memory) / GIB, 2),
                "java_gib": round(java.memory_info().rss / GIB, 2),
            }
        )
    )
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
