"""The command `readmit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from readmit_spark import readmit
from tests.ward import Ward


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["readmit", *arguments])
    return readmit.main()


def test_help_lists_every_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    jobs = [path.stem for path in Path("jobs").glob("*.py")]
    assert all(f"  {name} " in printed for name in [*jobs, "run", "night"])


def test_a_mistyped_command_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prepar") == 2
    assert "no command prepar; did you mean prepare?" in capsys.readouterr().err


def test_a_job_and_the_night_start_like_their_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit codes and messages are the jobs' own."""
    assert run(monkeypatch, "nightly", "--set", "output.root=null") == 2  # --as-of is missing
    assert "--as-of" in capsys.readouterr().err
    for command in ("prepare", "night"):
        assert run(monkeypatch, command, "--set", "output.root=null") == 2
        assert "output.root is not set" in capsys.readouterr().err


def test_run_goes_from_tables_to_a_report_and_skips_what_is_valid(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    overrides = [*ward.overrides, f"output.root={root}", "audit.max_auroc=1", "train.epochs=1"]
    overrides += ["audit.max_duplicates=0.99", "tracking.uri=null"]
    arguments = ["run", *(f"--set={override}" for override in overrides)]
    assert run(monkeypatch, *arguments) == 0, capsys.readouterr().err
    first = {name: made(root, name) for name in ("prepare", "score", "audit")}
    assert (root / "report.html").exists() and (root / "mlflow.db").exists()
    index = (root / "index.html").read_text()
    for page in ("report.html", "model_card.html", "audit.html"):
        assert f'<a href="{page}">' in index
    assert "3days: AUROC " in index and "no leak found" in index
    capsys.readouterr()
    assert run(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().err
    assert "not made again" in printed and "not trained again" in printed
    assert "only metrics and report are made" in printed
    assert {name: made(root, name) for name in ("prepare", "score")} == {
        name: first[name] for name in ("prepare", "score")
    }
    # Other settings make other tables, and nothing is replaced without a word.
    assert run(monkeypatch, *arguments, "--set", "split.seed=99") == 2
    assert "output.overwrite=true" in capsys.readouterr().err
    assert made(root, "prepare") == first["prepare"]


def made(root: Path, job: str) -> str:
    run: str = json.loads((root / "_manifests" / f"{job}.json").read_text())["run"]
    return run
