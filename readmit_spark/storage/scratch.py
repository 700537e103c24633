"""Folders for temporary files that only this user can enter."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from readmit_spark.errors import UserError

_LOCK = ".lock"


def private_folder(parent: Path) -> Path:
    """Return the folder of this user in `parent`, which no other user can enter.

    If `parent` lies in such a folder, return that one. Raise a UserError if another user made it.
    """
    name = f"readmit-spark-{os.getuid()}"
    if name in parent.parts:  # the scratch folder of a run
        return Path(*parent.parts[: parent.parts.index(name) + 1])
    folder = parent / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError(f"{folder} is a link or belongs to another user; remove it")
    folder.chmod(0o700)
    return folder


@dataclass(frozen=True)
class Scratch:
    """The folder for temporary files of one run. An open lock file says that it is in use."""

    path: Path
    _lock: IO[bytes]

    def remove(self) -> None:
        """Delete the folder with its content."""
        # Java may write at the same time; the next run deletes what is left.
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def make_scratch(parent: Path) -> Scratch:
    """Make a scratch folder in this user's private folder in `parent`.

    Delete those that killed runs have left: the system has released their locks.
    """
    folder = private_folder(parent) / "scratch"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / _LOCK).open("wb") as others:
        fcntl.flock(others, fcntl.LOCK_EX)  # nobody looks at a folder that has no lock yet
        for path in folder.iterdir():
            if path.is_dir() and not _is_in_use(path):
                shutil.rmtree(path, ignore_errors=True)  # its Java may still be ending
        path = Path(tempfile.mkdtemp(dir=folder))
        lock = (path / _LOCK).open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return Scratch(path, lock)


def _is_in_use(scratch: Path) -> bool:
    try:
        with (scratch / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # or its run has just removed it
        return True
    return False
