"""Score the prepared chunks; publish patient scores, ledger, metrics and the report."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.evaluation.summary_table import metrics_table
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_scorer
from readmit_spark.scoring.score_job import STAGES, score
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("score", STAGES)
    model = resolve_scorer(config)
    progress.say(f"model {model.name}")
    spark = build_session("score")
    prepared = Prepared.read(spark, config.output_root)
    with Run(spark, config, "score", progress, datetime.now, config.output.overwrite) as run:
        result = score(run, model, prepared)
    print(metrics_table(result.counts, result.metrics))
    run.say(f"tables are in {run.path}")
    run.say(f"report: {config.output_root}/report.html")


if __name__ == "__main__":
    sys.exit(cli.run("score", __doc__, main, sys.argv[1:]))
