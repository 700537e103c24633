"""Turn raw notes and admissions into a labelled cohort and tokenised chunks."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.notes.prepare_job import STAGES, prepare
from readmit_spark.notes.prepare_summary import prepare_summary
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import resolve_model
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session_while


def main(config: Config) -> None:
    progress = Progress("prepare", STAGES)
    spark, tokenizer = build_session_while(
        "prepare", lambda: resolve_model(config).tokenizer(config.model.max_tokens)
    )
    overwrite = config.output.overwrite
    with Run(spark, config, "prepare", progress, datetime.now, overwrite) as run:
        prepare(run, tokenizer)
    print(prepare_summary(Prepared.read(spark, config.output_root)))
    run.say(f"tables are in {run.path}; next: jobs/finetune.py")


if __name__ == "__main__":
    sys.exit(cli.run("prepare", __doc__, main, sys.argv[1:]))
