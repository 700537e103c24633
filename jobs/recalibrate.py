"""Fit the risks and alert thresholds of a model again on the settled nights of your hospital."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.nightly.recalibrate_job import RECORD, STAGES, recalibrate
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config, given: argparse.Namespace) -> None:
    progress = Progress("recalibrate", STAGES)
    model = resolve_scorer(config)
    progress.say(f"model {model.name}")
    with Run(build_session("recalibrate"), config, "recalibrate", progress, datetime.now) as run:
        print(recalibrate(run, model))
        print(f"written   {config.output_root}/{RECORD}")


if __name__ == "__main__":
    sys.exit(cli.run("recalibrate", __doc__, main, sys.argv[1:]))
