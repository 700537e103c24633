"""The CSVs of data.admissions, data.notes and data.patients to Parquet, once, and checked."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.ingest_job import STAGES_PER_TABLE, ingest, sources
from readmit_spark.storage.session import build_session


def main(config: Config) -> None:
    progress = Progress("ingest", STAGES_PER_TABLE * len(sources(config)))
    spark = build_session("ingest")
    for name, found in ingest(spark, config, progress, datetime.now)["sources"].items():
        progress.say(f"{found['path']}: {found['rows']:,} rows, {len(found['columns'])} columns")
        progress.say(f"read it with --set data.{name}={config.output_root}")


if __name__ == "__main__":
    sys.exit(cli.run("ingest", __doc__, main, sys.argv[1:]))
