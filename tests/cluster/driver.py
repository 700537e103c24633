"""Run a job whose scorer can have faults: driver.py EVENTS KIND JOB ARGUMENT..."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial

from faults import Build

from readmit_spark.scoring import score_job

os.environ.pop(
    "SPARK_ENV_LOADED", None
)  # set by spark-submit's scripts; a driver on YARN does not have it
events, kind, job, *arguments = sys.argv[1:]
score_job.score_chunks = partial(score_job.score_chunks, build=Build(events, kind))
sys.argv = [job, *arguments]
runpy.run_path(job, run_name="__main__")
