"""Raw notes and admissions to chunks of token ids: cohort, label, split, clean, chunk, tokenise."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.notes.prepare_job import STAGES, prepare
from readmit_spark.progress import Progress
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import locate
from readmit_spark.storage.publish import manifest
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("prepare", STAGES)
    model = locate(config)
    tokenizer = load_tokenizer(model.folder, config.model.max_tokens)
    spark = build_session("prepare")
    facts = prepare(spark, config, tokenizer, progress, datetime.now)
    progress.say(f"admissions {facts['admissions']}")
    progress.say(f"notes {facts['notes']}")
    progress.say(f"tables are in {manifest(spark, config.output_root, 'prepare')['path']}")


if __name__ == "__main__":
    sys.exit(cli.run("prepare", __doc__, main, sys.argv[1:]))
