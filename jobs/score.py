"""Scores the prepared chunks: patient risk, ledger, metrics, pictures and the report."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.evaluation.summary_table import metrics_table
from readmit_spark.progress import Progress
from readmit_spark.scoring.locate import locate_scorer
from readmit_spark.scoring.score_job import STAGES, score
from readmit_spark.storage.publish import manifest
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("score", STAGES)
    located = locate_scorer(config)
    progress.say(f"model {located.name}")
    spark = build_session("score")
    prepared = manifest(spark, config.output_root, "prepare")
    scored = score(spark, config, located, prepared, progress, datetime.now)
    print(metrics_table(scored.counts, scored.metrics))
    progress.say(f"tables are in {manifest(spark, config.output_root, 'score')['path']}")
    progress.say(f"report: {config.output_root}/report.html")


if __name__ == "__main__":
    sys.exit(cli.run("score", __doc__, main, sys.argv[1:]))
