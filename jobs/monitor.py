"""Monitor the published nights for drift, calibration and alert precision."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.nightly.monitor_job import STAGES, monitor
from readmit_spark.progress import Progress
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as-of",
        metavar="TIME",
        help="the last night to monitor: 2026-11-22T02:00:00 (default: the last published one)",
    )


def main(config: Config, given: argparse.Namespace) -> None:
    as_of = cli.parse_as_of(given.as_of) if given.as_of else None
    progress = Progress("monitor", STAGES)
    with Run(build_session("monitor"), config, "monitor", progress, datetime.now) as run:
        print(monitor(run, as_of))


if __name__ == "__main__":
    sys.exit(cli.run("monitor", __doc__, main, sys.argv[1:], arguments))
