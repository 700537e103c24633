"""Convert the CSVs of data.admissions, data.notes and data.patients to Parquet, and check them."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.ingest_job import STAGES_PER_TABLE, ingest, sources
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    spark = build_session("ingest")
    progress = Progress("ingest", STAGES_PER_TABLE * len(sources(spark, config)))
    with Run(spark, config, "ingest", progress, datetime.now, config.output.overwrite) as run:
        facts = ingest(run)
    for name, table in facts["sources"].items():
        run.say(f"{table['path']}: {table['rows']:,} rows, {len(table['columns'])} columns")
        run.say(f"read it with --set data.{name}={config.output_root}")


if __name__ == "__main__":
    sys.exit(cli.run("ingest", __doc__, main, sys.argv[1:]))
