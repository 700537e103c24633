"""Convert a published checkpoint (pytorch_pretrained_bert) and register it in MLflow."""

from __future__ import annotations

import argparse
import sys

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.scoring.import_job import STAGES, import_checkpoint


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="has bert_config.json, pytorch_model.bin and vocab.txt; without vocab.txt, the "
        "tokenizer of model.path is used if it has the same number of entries",
    )


def main(config: Config, given: argparse.Namespace) -> None:
    progress = Progress("import_checkpoint", STAGES)
    name, alias = import_checkpoint(config, given.folder, progress)
    progress.say(f"registered {name} as the {alias} in {config.tracking_uri}")
    progress.say(f"use it as model.path=models:/{name}")


if __name__ == "__main__":
    sys.exit(cli.run("import_checkpoint", __doc__, main, sys.argv[1:], arguments))
