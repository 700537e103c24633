"""Fine-tunes model.path on the prepared chunks, logs to MLflow and registers the champion."""

from __future__ import annotations

import sys

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.models.checkpoint import locate
from readmit_spark.progress import Progress
from readmit_spark.spark.publish import manifest
from readmit_spark.spark.session import build_session
from readmit_spark.steps.finetune import STEPS, finetune_and_register


def main(config: Config) -> None:
    progress = Progress("finetune", STEPS)
    located = locate(config)
    spark = build_session("finetune")
    prepared = manifest(spark, config.output_root, "prepare")
    spark.stop()  # training needs the memory and no Spark
    name = finetune_and_register(config, located, prepared, progress)
    progress.say(f"registered {name} as {config.model.name}@champion in {config.tracking_uri}")


if __name__ == "__main__":
    sys.exit(cli.run("finetune", __doc__, main, sys.argv[1:]))
