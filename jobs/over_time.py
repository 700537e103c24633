"""Score admissions after each day of their stay, from the notes available by then."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from functools import partial

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.insight.over_time_job import STAGES, over_time
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session_while
from readmit_spark.storage.text_ids import number_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--admission", metavar="HADM_ID", help="score only this admission")


def main(config: Config, given: argparse.Namespace) -> None:
    progress = Progress("over_time", STAGES)
    spark, model = build_session_while("over_time", partial(resolve_scorer, config))
    progress.say(f"model {model.name}")
    admission = given.admission and number_of(spark, config, given.admission, "--admission")
    with Run(spark, config, "over_time", progress, datetime.now) as run:
        print(over_time(run, model, admission))


if __name__ == "__main__":
    sys.exit(cli.run("over_time", __doc__, main, sys.argv[1:], arguments))
