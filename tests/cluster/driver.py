"""Run a job whose scorer can have faults: driver.py EVENTS KIND JOB ARGUMENT..."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial

from faults import Build

from readmit_spark.scoring import kept_scores

os.environ.pop(
    "SPARK_ENV_LOADED", None
)  # set by spark-submit's scripts; a driver on YARN does not have it
events, kind, job, *arguments = sys.argv[1:]
kept_scores.score_chunks = partial(kept_scores.score_chunks, build=Build(events, kind))
sys.argv = [job, *arguments]
runpy.run_path(job, run_name="__main__")
