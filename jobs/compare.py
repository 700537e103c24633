"""The transformer beside bag of words, TF-IDF, BiLSTM, length alone and the published figures."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.compare_job import STAGES, compare
from readmit_spark.comparison.comparison_page import comparison_table
from readmit_spark.config import Config
from readmit_spark.notes import prepare_job as prepare
from readmit_spark.progress import Progress
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import locate
from readmit_spark.storage.publish import has_result, manifest
from readmit_spark.storage.session import build_session
from readmit_spark.training.launch import choose_launch


def main(config: Config) -> None:
    progress = Progress("compare", STAGES)
    spark = build_session("compare")
    root = config.output_root
    if not has_result(spark, root, "prepare"):
        tokenizer = load_tokenizer(locate(config).folder, config.model.max_tokens)
        stages = Progress("compare: prepare", prepare.STAGES)
        prepare.prepare(spark, config, tokenizer, stages, datetime.now)
    prepared = manifest(spark, root, "prepare")
    launch = choose_launch(spark, config.train.processes)
    result = compare(spark, config, prepared, progress, datetime.now, launch)
    print(comparison_table(result))
    progress.say(f"page: {root}/compare.html")


if __name__ == "__main__":
    sys.exit(cli.run("compare", __doc__, main, sys.argv[1:]))
