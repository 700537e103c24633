"""Cross-validate model.path over five folds of patients; print mean and spread of each metric."""

from __future__ import annotations

import sys

from readmit_spark import cli
from readmit_spark.comparison.crossval_job import crossval, table
from readmit_spark.config import Config
from readmit_spark.evaluation.card import folds_of
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_model
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.session import build_session
from readmit_spark.training.launch import choose_launch


def main(config: Config) -> None:
    model = resolve_model(config)
    spark = build_session("crossval")
    prepared = Prepared.read(spark, config.output_root)
    progress = Progress("crossval", folds_of(prepared))
    if config.train.processes == 1:
        spark.stop()  # training needs the memory and no Spark
    launch = choose_launch(spark, config.train.processes)
    print(table(crossval(config, model, prepared, progress, launch)))
    progress.say(f"all figures are in {config.output_root}/crossval.json")


if __name__ == "__main__":
    sys.exit(cli.run("crossval", __doc__, main, sys.argv[1:]))
