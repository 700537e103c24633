"""Fine-tune model.path on the prepared chunks, log to MLflow and register the model."""

from __future__ import annotations

import sys

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_model
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.session import build_session
from readmit_spark.storage.ward_actions import acted_on, acted_on_line
from readmit_spark.training.finetune_job import STAGES, finetune_and_register
from readmit_spark.training.launch import choose_launch


def main(config: Config, keep_session: bool = False) -> None:
    progress = Progress("finetune", STAGES)
    model = resolve_model(config)
    spark = build_session("finetune")
    prepared = Prepared.read(spark, config.output_root)
    if config.nightly.actions:
        train = prepared.table("cohort").where("split = 'train'").select("hadm_id")
        acted = train.join(acted_on(spark, config), "hadm_id", "left_semi").count()
        progress.say(acted_on_line(acted, train.count(), "training"))
    if config.train.processes == 1 and not keep_session:
        spark.stop()  # training needs the memory and no Spark
    launch = choose_launch(spark, config.train.processes)
    name, alias = finetune_and_register(config, model, prepared, progress, launch)
    progress.say(f"registered {name} as {config.model.name}@{alias} in {config.tracking_uri}")
    if alias != "champion":
        progress.say("the champion stays until jobs/promote.py finds this one better")


if __name__ == "__main__":
    sys.exit(cli.run("finetune", __doc__, main, sys.argv[1:]))
