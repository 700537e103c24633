"""Compare the transformer with baselines, scores in use and published figures."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.compare_job import STAGES, compare
from readmit_spark.comparison.comparison_page import comparison_table
from readmit_spark.config import Config
from readmit_spark.notes import prepare_job
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_model
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.publish import has_result
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session
from readmit_spark.training.launch import choose_launch


def main(config: Config) -> None:
    progress = Progress("compare", STAGES)
    spark = build_session("compare")
    root = config.output_root
    if not has_result(spark, root, Prepared.JOB):
        stages = Progress("compare: prepare", prepare_job.STAGES)
        tokenizer = resolve_model(config).tokenizer(config.model.max_tokens)
        with Run(spark, config, "prepare", stages, datetime.now) as run:
            prepare_job.prepare(run, tokenizer)
    prepared = Prepared.read(spark, root)
    with Run(spark, config, "compare", progress, datetime.now) as run:
        result = compare(run, prepared, choose_launch(spark, config.train.processes))
    print(comparison_table(result))
    run.say(f"page: {root}/compare.html")


if __name__ == "__main__":
    sys.exit(cli.run("compare", __doc__, main, sys.argv[1:]))
