"""Correlate a model's similarity of clinical terms with people's ratings of them."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.pretraining.ratings import agreement, read_ratings
from readmit_spark.pretraining.similarity import similarities
from readmit_spark.scoring.model import resolve_model


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", metavar="PAIRS.csv", help="columns: term, other, rating")


def main(config: Config, given: argparse.Namespace) -> None:
    pairs, ratings = read_ratings(Path(given.pairs))
    model = resolve_model(config)
    model.tokenizer(max_tokens=8)  # raises UserError where this is not a model
    rank = agreement(similarities(model.folder, pairs), ratings)
    if math.isnan(rank):
        raise UserError(
            f"{given.pairs}: all ratings or all similarities are equal, so there is no rank"
        )
    print(f"{model.name}: rank correlation {rank:.3f} over {len(pairs)} pairs")


if __name__ == "__main__":
    sys.exit(cli.run("similarity", __doc__, main, sys.argv[1:], arguments))
