"""What S3A costs against the disk: prepare and score of one cohort, here and there, in turns.

    make test-s3 once, for the connector; then
    python bench/s3.py                 about 4 minutes on 2 quiet cores
    python bench/s3.py --patients 50 --rounds 1        a rehearsal

The S3 server is moto's, on this machine and its cores, in a process of its own: it answers in
milliseconds where S3 takes tens, and computes where S3 does not. So what is measured is the cost of
the connector and of the requests' number, which is written down beside the seconds, not S3's own
speed. The model is tiny: inference would hide what is measured. Both sides must give the same
tables. A ratio is the median over rounds; the first round, which warms Java up, is left out.

Writes bench/results/s3.json (machine, commit, figures).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _machine import ROOT, describe, keep_to_cores, write_result
from pyspark.sql import SparkSession

sys.path.insert(0, str(ROOT))
from tests.s3.settings import spark_settings, submit_arguments

CORES = 2
JARS = ROOT / "build" / "s3"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if len(list(JARS.glob("*.jar"))) < 2:
        print("bench/s3.py: no S3 connector in build/s3; run `make test-s3` once", file=sys.stderr)
        return 2
    machine = describe()
    keep_to_cores(CORES)
    with (
        tempfile.TemporaryDirectory(prefix="bench-s3-") as folder,
        _Server(Path(folder) / "requests") as server,
    ):
        rows = _measure(Path(folder), server, arguments.patients, arguments.rounds)
    print(write_result("s3", machine, rows))
    print(rows)
    return 0


class _Server:
    """moto's S3 in a process of its own, and the environment that AWS's clients find it by."""

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
        import boto3

        boto3.client("s3").create_bucket(Bucket="bench")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def requests(self) -> int:
        return self._log.read_text().count(" HTTP/1.1")


def _measure(folder: Path, server: _Server, patients: int, rounds: int) -> dict[str, object]:
    from readmit_spark.config_file import load_config
    from readmit_spark.demo.hospital import make_hospital
    from readmit_spark.demo.tables import write_hospital
    from tests.s3.hospital import results, run_prepare, run_score, settings
    from tests.tiny import save_tiny_model

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
    ratios = {
        job: median(
            a / b for a, b in zip(seconds[f"{job} s3a"], seconds[f"{job} disk"], strict=True)
        )
        for job in ("prepare", "score")
    }
    return {
        "patients": patients,
        "seconds": {name: [round(t, 2) for t in times] for name, times in seconds.items()},
        "requests": requests,
        "s3a_over_disk": {job: round(ratio, 2) for job, ratio in ratios.items()},
    }


def _session(address: str) -> SparkSession:
    from readmit_spark.storage.session import build_session

    settings = spark_settings(sorted(JARS.glob("*.jar")), address)
    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(settings)
    return build_session("bench")


if __name__ == "__main__":
    sys.exit(main())
