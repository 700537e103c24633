"""The nightly job as a process, killed with SIGKILL wherever it may be, and run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.storage.java import java_home
from tests.tiny import save_tiny_model
from tests.workers import python_workers

pytestmark = pytest.mark.slow

BEFORE, NIGHT = "2101-01-09T02:00:00", "2101-01-10T02:00:00"
TABLES = ("patient_risk", "unscored", "notes", "chunks", "followed")
STAGES = 5
POINTS = 20
CHAINS = 2  # kills one upon the other on a root of their own, at the same time: half the wait
# Java's first compiler alone: these programs end before the second has paid for itself.
_SUBMIT = (
    "--conf spark.sql.shuffle.partitions=2 --driver-java-options "
    "-XX:TieredStopAtLevel=1 pyspark-shell"
)


@dataclass(frozen=True)
class Job:
    """jobs/nightly.py on one root."""

    root: Path
    settings: list[str]

    def start(self, night: str = NIGHT) -> subprocess.Popen[str]:
        command = [sys.executable, "jobs/nightly.py", "--as-of", night]
        for setting in (*self.settings, f"output.root={self.root}"):
            command += ["--set", setting]
        return subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "PYSPARK_PYTHON": sys.executable,
                "JAVA_HOME": str(java_home(os.environ)),
                "PYSPARK_SUBMIT_ARGS": _SUBMIT,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, night: str = NIGHT) -> str:
        done = self.start(night)
        said, _ = done.communicate()
        assert done.returncode == 0, said
        return said

    def manifest(self, night: str = NIGHT) -> dict[str, Any] | None:
        path = self.root / "_manifests" / "nightly" / f"{night.replace(':', '')}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def tables(self) -> dict[str, Any]:
        """What readers see of the night, to the last bit."""
        found = self.manifest()
        assert found is not None
        folder = self.root / found["run"]
        tables: dict[str, Any] = {
            name: sorted(map(str, pq.read_table(folder / name).to_pylist())) for name in TABLES
        }
        return {**tables, "worklist.csv": (folder / "worklist.csv").read_bytes()}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The demo hospital with the night before published: rows to reuse, scores to compare."""
    folder = tmp_path_factory.mktemp("killed")
    write_hospital(make_hospital(patients=40, seed=5, span_days=10), folder / "data")
    (folder / "model").mkdir()
    made = Job(
        folder / "template",
        [
            f"data.admissions={folder}/data/ADMISSIONS.csv",
            f"data.notes={folder}/data/NOTEEVENTS.csv",
            f"model.path={save_tiny_model(folder / 'model')}",
            "model.max_tokens=128", "chunk.words=40", "score.bootstrap=20",
        ],
    )  # fmt: skip
    made.run(BEFORE)
    yield made


def fresh(job: Job, name: str) -> Job:
    root = job.root.with_name(name)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(job.root, root)
    return Job(root, job.settings)


@pytest.fixture(scope="module")
def undisturbed(job: Job) -> Job:
    made = fresh(job, "undisturbed")
    made.run()
    found = made.manifest()
    assert found is not None and found["counts"]["chunks_to_score"] > 3
    return made


def heard(running: subprocess.Popen[str], stage: int) -> bool:
    """Waits until the stage begins; False where the job ended before."""
    assert running.stdout is not None
    return any(f"[{stage}/{STAGES}]" in line for line in running.stdout)


def kill(running: subprocess.Popen[str], java_too: bool) -> None:
    """SIGKILL to Python alone, whose Java is then left without it, or to all of the driver."""
    if java_too:
        os.killpg(running.pid, signal.SIGKILL)
    else:
        running.kill()
    running.wait()
    group = [p for p in psutil.process_iter() if _group(p) == running.pid]
    psutil.wait_procs(group, timeout=60)  # an orphaned Java ends by itself


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def test_killed_at_any_moment_and_run_again_the_night_is_the_same(
    job: Job, undisturbed: Job
) -> None:
    """At random moments of every stage, on roots that hold what the killed runs before left."""
    with ThreadPoolExecutor(CHAINS) as pool:
        hits = sum(pool.map(lambda chain: _chain(job, undisturbed, chain), range(CHAINS)))
    assert hits >= POINTS - 3  # the others were over before the blow


def _chain(job: Job, undisturbed: Job, chain: int) -> int:
    """How many of this chain's kills met a running job."""
    manifest = undisturbed.manifest()
    assert manifest is not None
    seconds = list(manifest["seconds"].values())
    draw = random.Random(chain)
    killed, hits = fresh(job, f"killed-{chain}"), 0
    for point in range(POINTS // CHAINS):
        stage = point % STAGES + 1
        running = killed.start()
        if heard(running, stage):
            time.sleep(draw.uniform(0, seconds[stage - 1]))
        hits += running.poll() is None
        kill(running, java_too=point % 2 == 0)
        if killed.manifest() is None:
            assert BEFORE.replace(":", "") in os.listdir(killed.root / "nightly")
        else:  # it had come to the end
            assert killed.tables() == undisturbed.tables()
            killed = fresh(job, f"killed-{chain}")
    killed.run()
    assert killed.tables() == undisturbed.tables()
    (_,) = killed.root.glob(f"nightly/{NIGHT.replace(':', '')}/*")
    assert not list(killed.root.glob("_work/*/*"))  # nor is anything of the dead runs left
    assert "identical; nothing was changed" in killed.run()
    return hits


def test_a_worker_that_is_killed_costs_no_row(job: Job, undisturbed: Job) -> None:
    hurt = fresh(job, "hurt")
    running = hurt.start()
    assert heard(running, 4)
    end = time.monotonic() + 60
    blows = 0
    while not blows and running.poll() is None and time.monotonic() < end:
        for worker in python_workers(psutil.Process(running.pid)):
            try:
                worker.kill()
                blows += 1
            except psutil.Error:
                continue
        time.sleep(0.01)
    running.communicate()
    assert blows
    if running.returncode:
        assert hurt.manifest() is None
        hurt.run()
    assert hurt.tables() == undisturbed.tables()


def test_a_second_run_refuses_and_the_first_is_not_disturbed(job: Job, undisturbed: Job) -> None:
    both = fresh(job, "both")
    first = both.start()
    assert heard(first, 1)
    second = both.start()
    said, _ = second.communicate()
    assert second.returncode == 2
    assert f"another run of nightly holds output.root: process {first.pid} on" in said
    assert first.communicate() and first.returncode == 0
    assert both.tables() == undisturbed.tables()
