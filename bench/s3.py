"""Measure what S3 costs against the local disk: prepare and score of one cohort on each, in turns.

    make test-s3 once, to get the connector; then
    python bench/s3.py                              4 minutes on 2 idle cores
    python bench/s3.py --patients 50 --rounds 1     a quick check, 2 minutes

Claims: how many times longer prepare and score take on s3a:// than on the disk, the seconds that it
adds, and the number of requests.

The S3 server is moto's, in a process of its own on the same cores. It answers in milliseconds where
S3 takes tens of them, and needs CPU time where S3 needs none. So the figures are the cost of the
connector and of its requests, not S3's own speed. The model is tiny, so that scoring does not hide
this cost. Both sides must give the same tables. A ratio is the median over rounds; the first round,
which warms up Java, is left out.

Writes bench/results/s3.json (fewer patients: s3_small.json).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from pyspark.sql import SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import ROOT, describe, quiet_libraries, use_cores
from bench.common.results import write_result
from bench.common.timing import median_ratio
from readmit_spark.config_file import load_config
from readmit_spark.demo.hospital import make_hospital
from readmit_spark.demo.tables import write_hospital
from readmit_spark.storage.session import build_session
from tests.s3.hospital import results, run_prepare, run_score, settings
from tests.s3.settings import spark_settings, submit_arguments
from tests.tiny import save_tiny_model

CORES = 2
PATIENTS = 400
JARS = ROOT / "build" / "s3"


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if len(list(JARS.glob("*.jar"))) < 2:
        print("bench/s3.py: no S3 connector in build/s3; run `make test-s3` once", file=sys.stderr)
        return 2
    quiet_libraries()
    use_cores(CORES)
    machine = describe()
    with (
        tempfile.TemporaryDirectory(prefix="bench-s3-") as folder,
        _Server(Path(folder) / "requests") as server,
    ):
        result = _measure(Path(folder), server, options.patients, options.rounds)
    path = write_result("s3", machine, result, full=options.patients >= PATIENTS)
    print(result)
    print(path)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


class _Server:
    """moto's S3 server in a process of its own. Sets the environment variables of AWS's clients."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> _Server:
        code = (
            "from moto.server import ThreadedMotoServer; import time\n"
            "s = ThreadedMotoServer('127.0.0.1', 0, verbose=False); s.start()\n"
            "print(s.get_host_and_port()[1], flush=True); time.sleep(1e6)"
        )
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        os.environ |= {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        boto3.client("s3").create_bucket(Bucket="bench")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def requests(self) -> int:
        """Return the number of requests so far."""
        return self._log.read_text().count(" HTTP/1.1")


def _measure(folder: Path, server: _Server, patients: int, rounds: int) -> dict[str, object]:
    model = save_tiny_model(folder / "model")
    write_hospital(make_hospital(patients, 2024), folder / "data")
    raw = (f"{folder}/data/ADMISSIONS.csv", f"{folder}/data/NOTEEVENTS.csv")
    spark = _session(server.address)
    seconds: dict[str, list[float]] = {}
    requests: dict[str, int] = {}
    for number in range(rounds + 1):
        sides = [("disk", f"{folder}/out{number}"), ("s3a", f"s3a://bench/out{number}")]
        for side, root in sides if number % 2 else reversed(sides):
            config = load_config(overrides=settings(root, raw, model))
            for job, call in (("prepare", run_prepare), ("score", run_score)):
                before, start = server.requests(), time.monotonic()
                call(spark, config)
                if number:
                    seconds.setdefault(f"{job} {side}", []).append(time.monotonic() - start)
                    requests[f"{job} {side}"] = server.requests() - before
    disk, s3a = (results(spark, root, ("prepare", "score")) for _, root in sides)
    if disk != s3a:
        raise SystemExit("bench/s3.py: the two sides differ")
    spark.stop()
    return {
        "patients": patients,
        "seconds": {name: [round(t, 2) for t in times] for name, times in seconds.items()},
        "requests": requests,
        "s3a_over_disk": {
            job: median_ratio(seconds[f"{job} s3a"], seconds[f"{job} disk"])
            for job in ("prepare", "score")
        },
    }


def _session(address: str) -> SparkSession:
    spark_options = spark_settings(sorted(JARS.glob("*.jar")), address)
    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(spark_options)
    return build_session("bench-s3")


if __name__ == "__main__":
    sys.exit(main())
