"""Check the prepared cohort for leaks of the label; exit with code 3 if there is one."""

from __future__ import annotations

import sys
from datetime import datetime

from readmit_spark import cli
from readmit_spark.comparison.audit_job import STAGES, audit, table, verdict
from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session


def main(config: Config) -> int:
    progress = Progress("audit", STAGES)
    spark = build_session("audit")
    prepared = Prepared.read(spark, config.output_root)
    with Run(spark, config, "audit", progress, datetime.now) as run:
        checks = audit(run, prepared)
    print(table(checks))
    run.say(f"page: {config.output_root}/audit.html")
    run.say(verdict(checks))
    return cli.CHECK_FAILED if any(check.failed for check in checks) else cli.OK


if __name__ == "__main__":
    sys.exit(cli.run("audit", __doc__, main, sys.argv[1:]))
