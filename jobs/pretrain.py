"""Pretrain the BERT of model.path on physicians' and nurses' notes, and register the encoder."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.pretraining.pretrain_job import (
    check_start,
    make_examples,
    pretrain_and_register,
    stage_count,
)
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_model
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("pretrain", stage_count(config))
    model = resolve_model(config)
    # Each phase has its own limit of tokens, so any limit serves here.
    tokenizer = model.tokenizer(min(config.pretrain.tokens))
    check_start(config, model)
    spark = build_session("pretrain")
    with Run(spark, config, "pretrain", progress, datetime.now) as run:
        examples = make_examples(run, tokenizer)
    if config.train.processes == 1:
        spark.stop()  # training needs the memory and no Spark
    name, alias, phases = pretrain_and_register(config, model, examples, progress, spark)
    print("on held-out notes        masked words    next sentence")
    for tokens, phase in zip(config.pretrain.tokens, phases, strict=True):
        words, pairs = (
            f"{phase.before[key]:.3f} to {phase.after[key]:.3f}"
            for key in ("mlm_accuracy", "nsp_accuracy")
        )
        print(f"{phase.steps:>9,} x {tokens:<4} tokens   {words}  {pairs}")
    print("published (MIMIC-III)    BERT .495, ClinicalBERT .857; BERT .539, ClinicalBERT .994")
    progress.say(f"registered {name} as the {alias} in {config.tracking_uri}")
    progress.say(f"fine-tune it with model.path=models:/{name}")


if __name__ == "__main__":
    sys.exit(cli.run("pretrain", __doc__, main, sys.argv[1:]))
