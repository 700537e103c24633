"""Rescore the patients in the house as of one night, and publish the worklist."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from functools import partial

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.nightly.nightly_job import STAGES, nightly
from readmit_spark.nightly.published_nights import night_name
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session_while


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as-of",
        required=True,
        metavar="TIME",
        help="the night, in the hospital's own time: 2026-11-22T02:00:00, or `now`",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print the night estimate: the work and its minutes; publish nothing",
    )


def main(config: Config, given: argparse.Namespace) -> None:
    progress, as_of = Progress("nightly", STAGES), _time(given.as_of)
    spark, model = build_session_while("nightly", partial(resolve_scorer, config))
    progress.say(f"model {model.name}")
    with Run(spark, config, night_name(as_of), progress, datetime.now) as run:
        print(nightly(run, model, as_of, estimate=given.plan))


def _time(text: str) -> datetime:
    if text == "now":
        return datetime.now().replace(microsecond=0)
    return cli.parse_as_of(text)


if __name__ == "__main__":
    sys.exit(cli.run("nightly", __doc__, main, sys.argv[1:], arguments))
