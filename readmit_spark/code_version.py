"""Which code a run was made with."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path


def code_version() -> str:
    """The package's version, and the commit where it runs from a clone (`+` for changed files).

    >>> code_version()  # doctest: +SKIP
    '0.1.0 (7a78b11)'
    """
    here = Path(__file__).parent.parent
    released = version("readmit-spark")
    if not (here / ".git").exists():
        return released
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # no git, or another user's clone
        return released
    return f"{released} ({said.stdout.strip()})"
