"""The jobs one after another, each as a user starts it: that what they say and write is right has
tests of its own."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from tests.scoring.test_convert_checkpoint import random_weights, write_checkpoint
from tests.ward import Ward, run_program

CHAMPION = "model.path=models:/readmission@champion"


def test_they_run_one_after_another(ward: Ward, tmp_path: Path) -> None:
    root = tmp_path / "out"
    for made in ("prepare", "_manifests"):
        shutil.copytree(ward.root / made, root / made)
    settings = [*ward.overrides, f"output.root={root}"]
    checkpoint = write_checkpoint(tmp_path / "checkpoint", random_weights())
    for job, arguments, more, made in (
        ("finetune", [], [], "mlflow.db"),
        ("score", [], [CHAMPION, "score.windows=[3days]"], "metrics.json"),
        ("over_time", [], [CHAMPION, "over_time.days=2"], "over_time.html"),
        ("explain", ["--text", "chest pain"], [CHAMPION], "attention.npz"),
        ("import_checkpoint", [checkpoint], ["model.name=imported"], "mlflow.db"),
    ):
        done = run_program(job, [*settings, *more], tmp_path, *arguments)
        assert done.returncode == 0, f"{job}: {done.stderr}"
        assert "Traceback" not in done.stderr, job
        assert (root / made).is_file(), job
    for job, said in (
        ("promote", "readmission@challenger is not in the registry"),
        # The ward is too small for the second of five folds.
        ("crossval", "the validation split has no readmitted admissions with chunks"),
    ):
        done = run_program(job, settings, tmp_path)
        assert done.returncode == 2, f"{job}: {done.stderr}"
        assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr, job


def test_a_file_that_breaks_off_is_one_line(ward: Ward, tmp_path: Path) -> None:
    """Not Spark's warnings as it starts, nor what its workers and its tasks died of."""
    header = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
    rows = [f"{i},1,1,2150-01-02,,Nursing,,{os.urandom(99).hex()}\n" for i in range(2000)]
    whole = gzip.compress((header + "".join(rows)).encode())
    notes = tmp_path / "NOTES.csv.gz"
    notes.write_bytes(whole[: len(whole) // 2])
    settings = [*ward.overrides, f"data.notes={notes}"]
    for job, root in (("prepare", tmp_path / "out"), ("audit", ward.root)):
        done = run_program(job, [*settings, f"output.root={root}"], tmp_path)
        assert done.returncode == 2, job
        said = [line for line in done.stderr.splitlines() if not line.startswith(f"{job}: [")]
        assert said == [
            f"{job}: data.notes: {notes} cannot be read to its end: it must be a complete "
            ".csv, .csv.gz or Parquet table"
        ]
