"""Run prepare and score on the cluster, and read their results."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.cluster.standalone import ROOT, Cluster
from tests.tables_in import note, stay, words, write_csv

HERE = Path(__file__).parent
_TIMEOUT = 600.0  # seconds, enough for the slowest machine
SETTINGS = [
    "windows=[2days]",
    "chunk.mode=words",
    "chunk.words=20",
    "model.max_tokens=128",
    "train.window=2days",
    "score.bootstrap=5",
    "score.device=cpu",  # there are no real GPUs; Spark only assigns their addresses
]


@dataclass(frozen=True)
class Prepared:
    """A root with the result of prepare, and the settings of its jobs."""

    root: Path
    settings: list[str]


@dataclass(frozen=True)
class Ran:
    """A finished scoring job."""

    code: int
    output: str
    root: Path
    events: list[dict[str, Any]]

    @property
    def scores(self) -> dict[str, list[dict[str, Any]]]:
        """The published tables, sorted."""
        manifest = json.loads((self.root / "_manifests/score.json").read_text())
        tables = {
            name: pq.read_table(self.root / manifest["run"] / name).to_pylist()
            for name in ("chunk_scores", "patient_scores")
        }
        return {name: sorted(rows, key=repr) for name, rows in tables.items()}

    @property
    def published(self) -> list[str]:
        """Files that a reader could take for a result of score."""
        paths = [*self.root.glob("_manifests/score*"), *self.root.glob("score/*")]
        return [str(path) for path in [*paths, *self.root.glob("report.html")]]


class Started:
    """A running scoring job, and the events that its executors record."""

    def __init__(self, process: subprocess.Popen[str], root: Path, events: Path) -> None:
        self.process, self.root, self.folder = process, root, events

    def events(self, what: str | None = None) -> list[dict[str, Any]]:
        events = [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]
        return [event for event in events if what in (None, event["what"])]

    def wait_for(self, what: str, n: int, seconds: float = _TIMEOUT) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while len(self.events(what)) < n:
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"{n} {what} did not come:\n{self.process.communicate()[0]}")
            time.sleep(0.05)
        return self.events(what)

    def wait_for_text(self, log: Path, text: str) -> None:
        end = time.monotonic() + _TIMEOUT
        while text not in log.read_text():
            assert time.monotonic() < end, f"no {text!r} in:\n{log.read_text()}"
            time.sleep(0.05)

    def go(self) -> None:
        """Let the tasks of the fault "hold" continue."""
        (self.folder / "go").touch()

    def end(self) -> Ran:
        try:
            output, _ = self.process.communicate(timeout=_TIMEOUT)
        finally:
            self.process.kill()
        return Ran(self.process.returncode, output, self.root, self.events())


def prepare(cluster: Cluster, folder: Path, model: str, patients: int) -> Prepared:
    """Run prepare in local mode on notes of 7 to 9 different chunks for each patient."""
    stays, notes = [], []
    for subject in range(1, patients + 1):
        stays.append(stay(subject, subject * 10, "2020-01-01", "2020-01-05"))
        text = words(140 + subject % 40, subject * 200)
        notes.append(note(subject, subject, subject * 10, text))
    settings = [
        *SETTINGS,
        f"data.admissions={write_csv(folder / 'ADMISSIONS.csv', stays)}",
        f"data.notes={write_csv(folder / 'NOTES.csv', notes)}",
        f"model.path={model}",
    ]
    root = folder / "out"
    done = cluster.submit(
        ROOT / "jobs/prepare.py", *_arguments(folder, settings, root), master="local[1]"
    )
    output, _ = done.communicate(timeout=_TIMEOUT)
    assert done.returncode == 0, output
    return Prepared(root, settings)


def score(
    cluster: Cluster,
    prepared: Prepared,
    folder: Path,
    kind: str = "none",
    *more: str,
    master: str | None = None,
    **conf: str,
) -> Started:
    """Start jobs/score.py on a copy of the prepared root in `folder`."""
    events, root = folder / "events", folder / "out"
    events.mkdir()
    shutil.copytree(prepared.root, root)
    process = cluster.submit(
        HERE / "driver.py", str(events), kind, str(ROOT / "jobs/score.py"),
        *_arguments(folder, [*prepared.settings, *more], root),
        master=master, py_files=(HERE / "faults.py",), conf=conf,
    )  # fmt: skip
    return Started(process, root, events)


def _arguments(folder: Path, settings: list[str], root: Path) -> list[str]:
    (folder / "none.yaml").touch()
    every = [*settings, f"output.root={root}"]
    return ["--config", f"{folder}/none.yaml", *(part for s in every for part in ("--set", s))]
