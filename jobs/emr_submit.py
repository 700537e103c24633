"""Run jobs on Amazon EMR, on a new or a running cluster, and follow their EMR steps."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.emr import checks, estimate, request, run, steps
from readmit_spark.emr.code import collect_code
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress

CONF = Path(__file__).resolve().parent.parent / "conf"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("jobs", nargs="*", metavar="JOB", help=f"{', '.join(steps.SHAPES)}; default: nightly")
    add("--as-of", metavar="TIME", default="now", help="nightly's night (default: when it starts)")
    add("--cluster", metavar="J-ID", help="run the EMR steps on this running cluster")
    add("--keep", action="store_true", help="keep a new cluster until idle for emr.idle_minutes")
    add("--terminate", action="store_true", help="end --cluster, after its EMR steps if any")
    add("--dry-run", action="store_true", help="check and print the request, send nothing")
    add("--upload", action="store_true", help="--dry-run, but send code and configuration to S3")
    add("--estimate", nargs="?", const=CONF / "aws/estimate.yaml", metavar="FILE", type=Path,
        help="hours and dollars, from a table to edit (conf/aws/estimate.yaml)")  # fmt: skip


def main(config: Config, args: argparse.Namespace) -> int:
    progress = Progress("emr_submit", 2)
    if args.terminate and not args.cluster:
        raise UserError("--terminate needs --cluster J-ID: a new cluster ends by itself")
    if args.terminate and not args.jobs:
        run.end_cluster(run.clients(config).emr, args.cluster, progress)
        return cli.OK
    template, shapes = request.read_template(CONF / "emr_cluster.json"), request.read_shapes(CONF)
    if args.estimate:
        print(estimate.estimate_text(config, template, shapes["prepare"], args.estimate))
        return cli.OK
    code = collect_code(config, CONF.parent)
    as_of = args.as_of if args.as_of == "now" else cli.parse_as_of(args.as_of).isoformat()
    order = steps.RunOrder(args.jobs or ["nightly"], as_of, args.cluster, args.keep)
    emr_request = request.build_request(config, order, template, shapes, code)
    for line in checks.remarks(config, order.jobs):
        progress.say(line)
    if args.upload:
        run.upload(run.clients(config).s3, code)
    if args.dry_run or args.upload:
        print(json.dumps(emr_request, indent=2))
        return cli.OK
    succeeded = run.submit(run.clients(config), emr_request, code, progress, args.terminate)
    return cli.OK if succeeded else cli.FAILED


if __name__ == "__main__":
    sys.exit(cli.run("emr_submit", __doc__, main, sys.argv[1:], arguments))
