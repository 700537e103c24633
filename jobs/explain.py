"""Explain scores: show the driving chunk of an admission, and what its words contribute."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import datetime
from functools import partial

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.insight.explain_job import STAGES, ExplainRequest, explain_scores
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session_while
from readmit_spark.storage.text_ids import number_of


def arguments(parser: argparse.ArgumentParser) -> None:
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--text", help="explain this text, and show its attention maps")
    target.add_argument(
        "--admission",
        metavar="HADM_ID",
        help="explain this admission, and show its attention maps",
    )
    parser.add_argument(
        "--as-of", metavar="TIME", help="the night: 2026-11-22T02:00:00 (default: the last one)"
    )


def main(config: Config, given: argparse.Namespace) -> None:
    as_of = cli.parse_as_of(given.as_of) if given.as_of else None
    request = ExplainRequest(given.text, None, as_of)
    request.check(config.explain.source)
    progress = Progress("explain", STAGES)
    spark, model = build_session_while("explain", partial(resolve_scorer, config))
    progress.say(f"model {model.name}")
    if given.admission is not None:
        admission = number_of(spark, config, given.admission, "--admission")
        request = replace(request, admission=admission)
    with Run(spark, config, "explain", progress, datetime.now) as run:
        print(explain_scores(run, model, request))


if __name__ == "__main__":
    sys.exit(cli.run("explain", __doc__, main, sys.argv[1:], arguments))
