"""Nobody but the user who runs a job can read its files, while it runs and after it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from readmit_spark.storage.java import java_home
from tests.spark_options import ROOT, submit_arguments
from tests.tables_in import note, stay, words, write_csv
from tests.watch import Watch

pytestmark = pytest.mark.slow  # programs with a Java of their own

WORD = "zqxcanary"  # in every note
NIGHT = "2020-01-02T02:00:00"


class Job:
    """Programs that share an output.root and a temporary folder, started with an open umask."""

    def __init__(self, folder: Path, model: str) -> None:
        self.root, self.temporary = folder / "out", folder / "tmp"
        self.scratch = self.temporary / f"readmit-spark-{os.getuid()}" / "scratch"
        self.temporary.mkdir()
        stays = [stay(n, n * 10, "2020-01-01", "2020-01-05") for n in range(1, 31)]
        notes = [
            note(n, n, n * 10, f"{WORD} {words(90, n)}", "2020-01-01", category="Nursing")
            for n in range(1, 31)
        ]
        self._settings = (
            f"data.admissions={write_csv(folder / 'ADMISSIONS.csv', stays)}",
            f"data.notes={write_csv(folder / 'NOTES.csv', notes)}",
            f"output.root={self.root}", f"model.path={model}",
            "model.max_tokens=128", "chunk.mode=words", "chunk.words=40", "output.overwrite=true",
        )  # fmt: skip

    def start(self, name: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        command = [sys.executable, f"jobs/{name}.py", *arguments, "--config", os.devnull]
        for setting in (*self._settings, *(f"output.{k}={v}" for k, v in settings.items())):
            command += ["--set", setting]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "TMPDIR": str(self.temporary),
                "JAVA_HOME": str(java_home(os.environ)),
                "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={self.temporary}",
                "PYSPARK_SUBMIT_ARGS": submit_arguments(),
            },
            umask=0o022,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, name: str, *arguments: str, **settings: str) -> None:
        process = self.start(name, *arguments, **settings)
        output, _ = process.communicate()
        assert process.returncode == 0, output

    def scratch_files(self) -> list[Path]:
        return [path for path in self.scratch.glob("*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def job(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("private"), tiny_model)


def test_no_file_is_open_to_others_at_any_time(job: Job) -> None:
    with Watch(job.root.parent, WORD) as watch:
        job.run("prepare")
        job.run("nightly", "--as-of", NIGHT)
    assert {found for found in watch.seen if found.mode & 0o077} == set()
    for pattern in ("shuffle_*.data", "_work/nightly/*/text", "chunks/*/*.parquet", "worklist.csv"):
        assert watch.has(pattern), pattern
    assert {found.mode for found in watch.with_word & watch.seen} == {0o600}
    assert job.scratch_files() == []


def test_the_next_run_removes_the_scratch_of_a_killed_one(job: Job) -> None:
    """SIGKILL to Python and Java: neither can remove anything."""
    running = job.start("prepare")
    while not any(path.match("shuffle_*.data") for path in job.scratch_files()):
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    left = job.scratch_files()
    assert left
    job.run("nightly", "--as-of", NIGHT)
    assert job.scratch_files() == []


def test_the_group_can_read_results_if_it_may(job: Job) -> None:
    with Watch(job.root.parent, WORD) as watch:
        job.run("prepare", group_readable="true")
    results = {found for found in watch.seen if found.path.is_relative_to(job.root / "prepare")}
    assert {found.mode for found in results} <= {0o640, 0o750, 0o600, 0o700}
    assert {f.mode for f in results if f.path.match("cohort/*.parquet")} == {0o640}
    scratch = {found for found in watch.seen if found.path.is_relative_to(job.scratch)}
    assert scratch and not {found for found in scratch if found.reachable and found.mode & 0o044}
    # Java unpacks its own libraries beside it: no text.
    text = {found for found in watch.with_word if found.path.is_relative_to(job.temporary)}
    assert not {found for found in text if found.reachable}
