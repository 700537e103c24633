"""Check the demo's comparison: the transformer wins, and nothing beats the true risks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.evaluation.summary_table import implausible_results


def main(config: Config) -> None:
    root = Path(config.output_root)
    compared = json.loads((root / "compare.json").read_text())
    if problems := implausible_results(compared, config.model.name):
        raise RuntimeError("; ".join(problems))
    print("the transformer beats the bag of words, and nothing beats the true risks")
    print(f"page    {root}/compare.html")


if __name__ == "__main__":
    sys.exit(cli.run("demo_compared", __doc__, main, sys.argv[1:]))
