"""A job with a scorer that faults can happen to: driver.py EVENTS KIND JOB ARGUMENT..."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial

from faults import Build

from readmit_spark.scoring import score_job as step

os.environ.pop("SPARK_ENV_LOADED", None)  # of spark-submit's scripts; a driver on YARN has not it
events, kind, job, *arguments = sys.argv[1:]
step.score_chunks = partial(step.score_chunks, build=Build(events, kind))
sys.argv = [job, *arguments]
runpy.run_path(job, run_name="__main__")
