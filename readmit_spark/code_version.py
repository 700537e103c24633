"""Version of the code that produced a run."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path


def code_version() -> str:
    """Return the package version and, in a git clone, the commit (`+`: with local changes).

    >>> code_version()  # doctest: +SKIP
    '0.1.0 (7a78b11)'
    """
    root = Path(__file__).parent.parent
    package_version = version("readmit-spark")
    if not (root / ".git").exists():
        return package_version
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # no git, or a clone of another user
        return package_version
    return f"{package_version} ({git.stdout.strip()})"
