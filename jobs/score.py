"""Score the prepared chunks; publish patient scores, ledger, metrics and the report."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.evaluation.summary_table import metrics_table
from readmit_spark.progress import Progress
from readmit_spark.scoring import score_report
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.scoring.score_job import STAGES, is_scored, score
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session_while


def main(config: Config) -> None:
    spark, model = build_session_while("score", partial(resolve_scorer, config))
    prepared = Prepared.read(spark, config.output_root)
    scored = is_scored(spark, config, model, prepared)
    progress = Progress("score", score_report.STAGES if scored else STAGES)
    progress.say(f"model {model.name}")
    if scored:
        progress.say("these chunks were scored before, so only metrics and report are made")
    else:
        with Run(spark, config, "score", progress, datetime.now, config.output.overwrite) as run:
            score(run, model, prepared)
    with Run(spark, config, score_report.NAME, progress, datetime.now) as run:
        result = score_report.report(run, model, prepared)
    print(metrics_table(result.counts, result.metrics))
    progress.say(f"tables are in {result.path}")
    progress.say(f"report: {config.output_root}/report.html")


if __name__ == "__main__":
    sys.exit(cli.run("score", __doc__, main, sys.argv[1:]))
