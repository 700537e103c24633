"""The version that manifests record."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from readmit_spark import code_version as module
from readmit_spark.code_version import code_version

RELEASE = version("readmit-spark")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that code_version takes for the root of the clone."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "readmit_spark" / "code_version.py"))
    (tmp_path / "readmit_spark").mkdir()
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_an_installed_package_has_its_release(root: Path) -> None:
    assert code_version() == RELEASE


def test_a_clone_has_its_commit_and_a_mark_for_changes(root: Path) -> None:
    git(root, "init", "-q")
    (root / "a").write_text("1")
    git(root, "add", "a")
    git(root, "commit", "-q", "-m", "first")
    commit = git(root, "rev-parse", "--short", "HEAD")
    assert code_version() == f"{RELEASE} ({commit})"
    (root / "a").write_text("2")
    assert code_version() == f"{RELEASE} ({commit}+)"


def test_a_broken_clone_has_the_release(root: Path) -> None:
    (root / ".git").write_text("not a repository")
    assert code_version() == RELEASE
