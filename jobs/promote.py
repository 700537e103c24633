"""Make a registered version the champion if it scores better than the present champion."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.promote_job import STAGES, promote, reasons, table
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
    print(reasons(decision))


if __name__ == "__main__":
    sys.exit(cli.run("promote", __doc__, main, sys.argv[1:]))
