"""Compare the transformer with baselines, scores in use and published figures."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.compare_job import STAGES, compare
from readmit_spark.comparison.comparison_page import comparison_table
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session
from readmit_spark.training.launch import choose_launch


def main(config: Config) -> None:
    progress = Progress("compare", STAGES)
    spark = build_session("compare")
    prepared = Prepared.read(spark, config.output_root)
    with Run(spark, config, "compare", progress, datetime.now) as run:
        result = compare(run, prepared, choose_launch(spark, config.train.processes))
    print(comparison_table(result))
    run.say(f"page: {config.output_root}/compare.html")


if __name__ == "__main__":
    sys.exit(cli.run("compare", __doc__, main, sys.argv[1:]))
