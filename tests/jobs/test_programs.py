"""The jobs as a user starts them, one after another. Their results have other tests."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from tests.scoring.test_convert_checkpoint import random_weights, write_checkpoint
from tests.ward import Ward, run_program

pytestmark = pytest.mark.slow  # a dozen programs, each with a Java of its own

CHAMPION = "model.path=models:/readmission@champion"


def test_jobs_run_one_after_another(ward: Ward, tmp_path: Path) -> None:
    root = tmp_path / "out"
    for folder in ("prepare", "_manifests"):
        shutil.copytree(ward.root / folder, root / folder)
    settings = [*ward.overrides, f"output.root={root}"]
    checkpoint = write_checkpoint(tmp_path / "checkpoint", random_weights())
    for job, arguments, more, result in (
        ("finetune", [], [], "mlflow.db"),
        ("score", [], [CHAMPION, "score.windows=[3days]"], "metrics.json"),
        ("over_time", [], [CHAMPION, "over_time.days=2"], "over_time.html"),
        ("explain", ["--text", "chest pain"], [CHAMPION], "attention_text.npz"),
        ("import_checkpoint", [checkpoint], ["model.name=imported"], "mlflow.db"),
    ):
        done = run_program(job, [*settings, *more], tmp_path, *arguments)
        assert done.returncode == 0, f"{job}: {done.stderr}"
        assert "Traceback" not in done.stderr, job
        assert (root / result).is_file(), job
    for job, message in (
        ("promote", "readmission@challenger is not in the registry"),
        # The ward is too small for the second of five folds.
        ("crossval", "the validation split has no readmitted admissions with chunks"),
    ):
        done = run_program(job, settings, tmp_path)
        assert done.returncode == 2, f"{job}: {done.stderr}"
        assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr, job


def test_a_truncated_file_is_a_one_line_error(ward: Ward, tmp_path: Path) -> None:
    """Neither Spark's warnings at the start nor the errors of its workers and tasks are printed."""
    header = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
    rows = [f"{i},1,1,2150-01-02,,Nursing,,{os.urandom(99).hex()}\n" for i in range(2000)]
    compressed = gzip.compress((header + "".join(rows)).encode())
    notes = tmp_path / "NOTES.csv.gz"
    notes.write_bytes(compressed[: len(compressed) // 2])
    settings = [*ward.overrides, f"data.notes={notes}"]
    for job, root in (("prepare", tmp_path / "out"), ("audit", ward.root)):
        done = run_program(job, [*settings, f"output.root={root}"], tmp_path)
        assert done.returncode == 2, job
        said = (f"{job}: [", f"{job}: chunks of ")  # progress
        lines = [line for line in done.stderr.splitlines() if not line.startswith(said)]
        assert lines == [
            f"{job}: data.notes: {notes} cannot be read to its end: it must be a complete "
            ".csv, .csv.gz or Parquet table"
        ]
