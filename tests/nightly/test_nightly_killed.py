"""The nightly job as a process, killed with SIGKILL at any moment and run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from readmit_spark.demo import make_hospital, write_hospital
from tests.kills import kill, start_job, wait_for_line
from tests.once import make_once
from tests.tiny import save_tiny_model
from tests.workers import python_workers

pytestmark = pytest.mark.slow

BEFORE, NIGHT = "2101-01-09T02:00:00", "2101-01-10T02:00:00"
TABLES = ("patient_risk", "unscored", "notes", "chunks", "followed")
STAGES = 5
CHAINS = 2  # independent series of kills, which can run at the same time
KILLS = 10  # in each chain, twice in each stage


@dataclass(frozen=True)
class Job:
    """jobs/nightly.py on one output.root."""

    root: Path
    settings: tuple[str, ...]

    def start(self, night: str = NIGHT) -> subprocess.Popen[str]:
        program = ["jobs/nightly.py", "--as-of", night]
        return start_job(program, [*self.settings, f"output.root={self.root}"])

    def run(self, night: str = NIGHT) -> str:
        process = self.start(night)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def copy(self, root: Path) -> Job:
        """Return the job on a copy of its output.root."""
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root)
        return replace(self, root=root)

    def manifest(self, night: str = NIGHT) -> dict[str, Any] | None:
        path = self.root / "_manifests" / "nightly" / f"{night.replace(':', '')}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def tables(self) -> dict[str, Any]:
        """Return the published night as readers see it, to the last bit."""
        manifest = self.manifest()
        assert manifest is not None
        folder = self.root / manifest["run"]
        tables: dict[str, Any] = {
            name: sorted(map(str, pq.read_table(folder / name).to_pylist())) for name in TABLES
        }
        return {**tables, "worklist.csv": (folder / "worklist.csv").read_bytes()}


def job_in(folder: Path, root: str) -> Job:
    return Job(
        folder / root,
        (
            f"data.admissions={folder}/data/ADMISSIONS.csv",
            f"data.notes={folder}/data/NOTEEVENTS.csv",
            f"model.path={folder}/model",
            "model.max_tokens=128", "chunk.mode=words", "chunk.words=40", "score.bootstrap=20",
        ),
    )  # fmt: skip


def make_nights(folder: Path) -> None:
    """Write a demo hospital and a model, and run two nights without a disturbance.

    "before" holds the night before: rows to reuse and scores to compare with. "undisturbed" holds
    the tested night as well.
    """
    write_hospital(make_hospital(patients=40, seed=5, span_days=10), folder / "data")
    (folder / "model").mkdir()
    save_tiny_model(folder / "model")
    before = job_in(folder, "before")
    before.run(BEFORE)
    before.copy(folder / "undisturbed").run()


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "killed", make_nights)


@pytest.fixture(scope="module")
def before(nights: Path) -> Job:
    return job_in(nights, "before")


@pytest.fixture(scope="module")
def undisturbed(nights: Path) -> Job:
    job = job_in(nights, "undisturbed")
    manifest = job.manifest()
    assert manifest is not None and manifest["counts"]["chunks_to_score"] > 3
    return job


def wait_for_stage(running: subprocess.Popen[str], stage: int) -> bool:
    """Wait until the stage begins; return False if the job ended before."""
    return wait_for_line(running, f"[{stage}/{STAGES}]")


@pytest.mark.parametrize("chain", range(CHAINS))
def test_killed_at_any_moment_and_run_again_the_night_is_the_same(
    before: Job, undisturbed: Job, chain: int, tmp_path: Path
) -> None:
    """At random moments of every stage, on a root with the remains of the killed runs before."""
    manifest = undisturbed.manifest()
    assert manifest is not None
    seconds = list(manifest["seconds"].values())
    draw = random.Random(chain)
    killed, hits = before.copy(tmp_path / "out"), 0
    for number in range(KILLS):
        stage = number % STAGES + 1
        running = killed.start()
        if wait_for_stage(running, stage):
            time.sleep(draw.uniform(0, seconds[stage - 1]))
        hits += running.poll() is None
        kill(running, java_too=number % 2 == 0)
        if killed.manifest() is None:
            assert BEFORE.replace(":", "") in os.listdir(killed.root / "nightly")
        else:  # the job had published before it was killed
            assert killed.tables() == undisturbed.tables()
            killed = before.copy(tmp_path / "out")
    assert hits >= KILLS - 1  # in the last stage the job may end before the kill
    killed.run()
    assert killed.tables() == undisturbed.tables()
    (_,) = killed.root.glob(f"nightly/{NIGHT.replace(':', '')}/*")
    assert not list(killed.root.glob("_work/*/*"))  # also of the killed runs
    assert "identical; nothing was changed" in killed.run()


def test_a_worker_that_is_killed_costs_no_row(
    before: Job, undisturbed: Job, tmp_path: Path
) -> None:
    job = before.copy(tmp_path / "out")
    running = job.start()
    assert wait_for_stage(running, 4)
    end = time.monotonic() + 60
    kills = 0
    while not kills and running.poll() is None and time.monotonic() < end:
        for worker in python_workers(psutil.Process(running.pid)):
            try:
                worker.kill()
                kills += 1
            except psutil.Error:
                continue
        time.sleep(0.01)
    running.communicate()
    assert kills
    if running.returncode:
        assert job.manifest() is None
        job.run()
    assert job.tables() == undisturbed.tables()


def test_a_second_run_is_refused_and_does_not_disturb_the_first(
    before: Job, undisturbed: Job, tmp_path: Path
) -> None:
    job = before.copy(tmp_path / "out")
    first = job.start()
    assert wait_for_stage(first, 1)
    second = job.start()
    output, _ = second.communicate()
    assert second.returncode == 2
    assert f"another run of nightly holds output.root: process {first.pid} on" in output
    assert first.communicate() and first.returncode == 0
    assert job.tables() == undisturbed.tables()
