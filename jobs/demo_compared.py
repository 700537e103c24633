"""Check the demo's comparison: the transformer wins, and nothing beats the true risks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.summary_table import unmet_demands


def main(config: Config) -> None:
    root = Path(config.output_root)
    compared = json.loads((root / "compare.json").read_text())
    if problems := unmet_demands(compared, config.model.name):
        raise UserError("; ".join(problems))
    print("the transformer ranks better than the models that count words, and nothing better than "
          "the true risks")  # fmt: skip
    print(f"page    {root}/compare.html")


if __name__ == "__main__":
    sys.exit(cli.run("demo_compared", __doc__, main, sys.argv[1:]))
