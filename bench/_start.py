"""The program that bench/score_job.py submits: scores a few chunks in each of n workers, and says
when the first score was there and what memory the workers then hold."""

from __future__ import annotations

import json
import sys
import time

import psutil
from _machine import GIB, peak_gib, workers
from pyspark.sql import functions as F

from readmit_spark.scoring.score_chunks import ScorerSettings, distinct_chunks, score_chunks
from readmit_spark.scoring.ship_model import ship
from readmit_spark.storage.session import build_session


def main(model: str, chunks: str, n: int, began: float) -> None:
    spark = build_session("bench-start")
    settings = ScorerSettings(ship(spark, model), "auto", "fp32", None)
    frame = spark.read.parquet(chunks).select(
        "input_ids",
        F.size("input_ids").alias("n_tokens"),
        F.lit("3days").alias("window"),
        F.monotonically_increasing_id().alias("hadm_id"),
        F.lit(0).alias("chunk_index"),
    )
    score_chunks(distinct_chunks(frame.limit(1)), 1, settings, "").collect()
    first = time.time() - began
    score_chunks(distinct_chunks(frame), n, settings, "").collect()
    java = psutil.Process().parent()  # under spark-submit
    memory = [(process, process.memory_full_info()) for process in workers(java)]
    holders = [(process, info) for process, info in memory if info.rss > 0.25 * GIB]
    print(
        json.dumps(
            {
                "seconds_to_first_score": round(first, 1),
                "models": len(holders),
                "peak_gib": [round(peak_gib(process.pid), 2) for process, _ in holders],
                "unshared_gib": [round(info.uss / GIB, 2) for _, info in holders],
                "workers_together_gib": round(sum(info.pss for _, info in memory) / GIB, 2),
                "java_gib": round(java.memory_info().rss / GIB, 2),
            }
        )
    )
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
