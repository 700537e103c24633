"""The jobs one after another, each as a user starts it: that what they say and write is right has
tests of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.models.test_published import random_weights, write_checkpoint
from tests.steps.conftest import Ward, run_program

CHAMPION = "model.path=models:/readmission@champion"


def test_they_run_one_after_another(ward: Ward, tmp_path: Path) -> None:
    root = tmp_path / "out"
    # Two windows are quicker than three.
    settings = [*ward.overrides, f"output.root={root}", "windows=[3days]", "explain.source=score",
                "explain.top=2"]  # fmt: skip
    checkpoint = write_checkpoint(tmp_path / "checkpoint", random_weights())
    for job, arguments, more, made in (
        ("prepare", [], [], "_manifests/prepare.json"),
        ("finetune", [], [], "mlflow.db"),
        ("score", [], [CHAMPION], "metrics.json"),
        ("over_time", [], [CHAMPION, "over_time.days=2"], "over_time.html"),
        ("explain", [], [CHAMPION], "explain.html"),
        ("explain", ["--text", "chest pain"], [CHAMPION], "attention.npz"),
        ("finetune", [], ["train.learning_rate=2e-3"], "mlflow.db"),
        ("promote", [], [], "mlflow.db"),
        ("crossval", [], [], "crossval.json"),
        ("import_checkpoint", [checkpoint], [], "mlflow.db"),
    ):
        done = run_program(job, [*settings, *more], tmp_path, *arguments)
        assert done.returncode == 0, f"{job}: {done.stderr}"
        assert "Traceback" not in done.stderr and done.stdout.strip(), job
        assert (root / made).is_file(), job
    shutil.rmtree(root)
