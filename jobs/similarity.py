"""Holds pairs of clinical terms against people's ratings of how alike they are, by rank."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.core.ratings import agreement, read_ratings
from readmit_spark.models.checkpoint import local_folder, locate
from readmit_spark.models.similarity import similarities


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", metavar="PAIRS.csv", help="columns: term, other, rating")


def main(config: Config, given: argparse.Namespace) -> None:
    pairs, ratings = read_ratings(Path(given.pairs))
    located = locate(config)
    found = similarities(local_folder(located.folder), pairs)
    rank = agreement(found, ratings)
    print(f"{located.name}: rank correlation {rank:.3f} over {len(pairs)} pairs")


if __name__ == "__main__":
    sys.exit(cli.run("similarity", __doc__, main, sys.argv[1:], arguments))
