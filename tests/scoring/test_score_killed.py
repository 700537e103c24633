"""The score job as a process, killed with SIGKILL at random moments and run again."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.kills import kill, start_job, wait_for_line
from tests.once import make_once
from tests.scoring.recorded import recorded
from tests.tables_in import note, stay, words, write_csv
from tests.tiny import save_tiny_model

pytestmark = pytest.mark.slow

TABLES = ("chunk_scores", "patient_scores", "ledger")
KILLS = 20
PARALLELISM = {"spark.default.parallelism": "400"}  # as on a large cluster: as many tasks as can be


@dataclass(frozen=True)
class Job:
    """jobs/score.py on one output.root. scored: folder of the records of its workers."""

    root: Path
    scored: Path
    settings: tuple[str, ...]

    def start(self) -> Any:
        self.scored.mkdir(exist_ok=True)
        program = ["tests/scoring/recorded.py", str(self.scored)]
        return start_job(program, [*self.settings, f"output.root={self.root}"], PARALLELISM)

    def run(self) -> str:
        process = self.start()
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def copy(self, root: Path) -> Job:
        """Return the job on a copy of its output.root."""
        shutil.copytree(self.root, root)
        return replace(self, root=root, scored=root.parent / "scored")

    def manifest(self) -> dict[str, Any] | None:
        path = self.root / "_manifests" / "score.json"
        return json.loads(path.read_text()) if path.exists() else None

    def tables(self) -> dict[str, Any]:
        """Return the published scores, to the last bit."""
        manifest = self.manifest()
        assert manifest is not None
        folder = self.root / manifest["run"]
        return {t: sorted(map(str, pq.read_table(folder / t).to_pylist())) for t in TABLES}


def job_in(folder: Path, root: str) -> Job:
    return Job(
        folder / root,
        folder / f"{root}-scored",
        (
            f"data.admissions={folder}/data/ADMISSIONS.csv",
            f"data.notes={folder}/data/NOTEEVENTS.csv",
            f"model.path={folder}/model", "windows=[2days]", "score.split=all",
            "model.max_tokens=128", "chunk.mode=words", "chunk.words=10", "chunk.min_tail_words=1",
            "score.bootstrap=20",
        ),
    )  # fmt: skip


def make_backlog(folder: Path) -> None:
    """Prepare 4,000 different chunks, in "prepared", and score them in "undisturbed"."""
    patients = range(1, 401)
    stays = [stay(i, i, "2020-01-01", "2020-01-05") for i in patients]
    (folder / "data").mkdir()
    write_csv(folder / "data" / "ADMISSIONS.csv", stays)
    notes = [note(i, i, i, words(100, 100 * i)) for i in patients]
    write_csv(folder / "data" / "NOTEEVENTS.csv", notes)
    (folder / "model").mkdir()
    save_tiny_model(folder / "model")
    prepared = job_in(folder, "prepared")
    preparing = start_job(["jobs/prepare.py"], [*prepared.settings, f"output.root={prepared.root}"])
    output, _ = preparing.communicate()
    assert preparing.returncode == 0, output
    shutil.copytree(prepared.root, folder / "undisturbed")
    job_in(folder, "undisturbed").run()


@pytest.fixture(scope="module")
def backlog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_once(tmp_path_factory, "score-killed", make_backlog)


def test_killed_twenty_times_hardly_a_chunk_is_scored_twice(backlog: Path, tmp_path: Path) -> None:
    """At random moments, most of them while chunks are scored; with the same bits in the end."""
    undisturbed, draw = job_in(backlog, "undisturbed"), random.Random(1)
    n = recorded(undisturbed.scored)
    assert n == 4_000
    manifest = undisturbed.manifest()
    assert manifest is not None
    seconds = list(manifest["seconds"].values())
    prepared = job_in(backlog, "prepared")
    job, scored, complete = prepared.copy(tmp_path / "0"), 0, 0
    for number in range(KILLS):
        stage = 2 if number % 5 else draw.choice((1, 3, 4))
        running = job.start()
        if wait_for_line(running, f"[{stage}/4]"):
            # Most of a backlog is left, so that many kills hit the same one.
            time.sleep(draw.uniform(0, seconds[stage - 1] / 6 if stage < 4 else 1))
        kill(running, java_too=number % 2 == 0)
        if job.manifest() is not None:  # it had published before it was killed
            assert job.tables() == undisturbed.tables()
            complete += 1
            job = prepared.copy(tmp_path / str(number + 1))
    assert "distinct chunks were scored by a run that did not end" in job.run()
    assert job.tables() == undisturbed.tables()
    assert not list(job.root.glob("_work/score/*"))
    assert (job.root / "report.html").exists()
    complete += 1
    scored = recorded(job.scored)
    print(f"{KILLS} kills: {scored:,} chunks scored, {complete * n:,} needed")
    assert complete * n <= scored <= 1.05 * complete * n
    assert "only metrics and report are made" in job.run()
    assert recorded(job.scored) == scored
