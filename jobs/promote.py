"""Make a registered version the champion if it scores better than the present champion."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.promote_job import STAGES, promote, table
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("promote", STAGES)
    spark = build_session("promote")
    prepared = Prepared.read(spark, config.output_root)
    with Run(spark, config, "promote", progress, datetime.now) as run:
        decision = promote(run, prepared)
    print(table(decision))
    if decision.objections:
        print(f"{decision.champion} stays the champion:")
        print("\n".join(f"- {reason}" for reason in decision.objections))
    else:
        print(
            f"{decision.challenger} is the champion now, and {decision.champion} is @previous: the "
            f"AUROC is shown to be better by more than {config.promote.min_gain:g}, and no other "
            "measure and no subgroup is shown to be worse"
        )


if __name__ == "__main__":
    sys.exit(cli.run("promote", __doc__, main, sys.argv[1:]))
