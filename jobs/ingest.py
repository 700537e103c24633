"""Convert the CSVs of data.admissions, data.notes and data.patients to Parquet, and check them; or
turn the tables of another data.format, in data.folder, into tables of MIMIC-III's shape."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.ingest_job import ingest, stages, summary_lines
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    spark = build_session("ingest")
    progress = Progress("ingest", stages(spark, config))
    with Run(spark, config, "ingest", progress, datetime.now, config.output.overwrite) as run:
        facts = ingest(run)
    for line in summary_lines(config, facts):
        run.say(line)


if __name__ == "__main__":
    sys.exit(cli.run("ingest", __doc__, main, sys.argv[1:]))
