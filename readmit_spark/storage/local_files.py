"""File operations on a local disk or a mounted network disk, without Spark.

Hadoop would write a checksum file beside each file, and would reject the file after it was replaced
without Hadoop. It also cannot flush a file to the disk.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path


class LocalFiles:
    """Files below `root`; all names are relative to it.

    A reader of a file sees either its previous or its complete new content, also after a power cut:
    a file is flushed to the disk before it is renamed, and its folder afterwards. aside: the folder
    of the incomplete file, on the same disk.
    """

    def __init__(self, root: str, folder: Path | None = None) -> None:
        """root: as Spark reads it. folder: its path on this machine, if `root` is a URI."""
        self.root = root
        self._folder = (folder or Path(root)).absolute()

    def path(self, name: str) -> str:
        """Return the full path of a file or folder."""
        return f"{self.root}/{name}"

    def is_file(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return self._local(name).is_file()

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of files and folders in `folder`; [] if it does not exist."""
        path = self._local(folder)
        return sorted(os.listdir(path)) if path.is_dir() else []

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of each data file of a table, by its path below the table's folder."""
        table = self._local(name)
        return {
            str(path.relative_to(table)): path.stat().st_size
            for path in sorted(table.rglob("*"))
            if path.is_file() and not path.name.startswith(("_", "."))
        }

    def read(self, name: str) -> str:
        """Return the text of a small file; raise FileNotFoundError if it is missing."""
        return self._local(name).read_bytes().decode()

    def delete(self, name: str) -> None:
        """Delete a file or a folder with its content, as far as the system allows; of a link only
        the link."""
        path = self._local(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def write(self, name: str, text: str, aside: str) -> None:
        """Create or replace a small file."""
        self._write_aside(name, aside, lambda path: path.write_bytes(text.encode()))

    def put(self, local: Path, name: str, aside: str) -> None:
        """Copy a local file to `name`."""
        self._write_aside(name, aside, lambda path: shutil.copyfile(local, path))

    def version(self, name: str) -> str | None:
        """Return what changes when the file is replaced; None without a file."""
        with suppress(FileNotFoundError):
            status = self._local(name).stat()
            return f"{status.st_ino} {status.st_mtime_ns}"
        return None

    def replace(self, name: str, text: str, version: str | None, aside: str) -> bool:
        """Write a small file unless it has another `version`, because another process replaced it.

        Return whether it was written. Two processes must not call this at the same time.
        """
        unchanged = True

        def write(path: Path) -> None:
            path.write_bytes(text.encode())

        def is_unchanged() -> bool:
            nonlocal unchanged
            unchanged = self.version(name) == version
            return unchanged

        self._write_aside(name, aside, write, is_unchanged)
        return unchanged

    def touch(self, name: str) -> None:
        """Create an empty file."""
        path = self._local(name)
        _make_folder(path.parent)
        path.touch()

    def hide_from_git(self) -> None:
        """Let git ignore `root` and all below it, which may hold patients' data."""
        ignored = self._local(".gitignore")
        if not ignored.exists():
            _make_folder(ignored.parent)
            ignored.write_text("*\n")

    def create_new(self, name: str, text: str) -> bool:
        """Write a small file only if it does not exist yet.

        If several processes try at the same time, exactly one gets True. A process that is killed
        meanwhile may leave a file NAME.TOKEN.new. If that is deleted too early, return False.
        """
        path = self._local(name)
        _make_folder(path.parent)
        incomplete = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
        try:
            incomplete.write_bytes(text.encode())
            sync(incomplete)
            os.link(incomplete, path)
        except (FileExistsError, FileNotFoundError):
            return False
        finally:
            incomplete.unlink(missing_ok=True)
        return True

    def rewrite(self, name: str, text: str) -> None:
        """Replace the content of an existing small file in place by one that is not shorter.

        It needs no new space. Its time becomes the present one.
        """
        with self._local(name).open("r+b", buffering=0) as file:
            file.write(text.encode())
            os.fsync(file.fileno())

    def age(self, name: str) -> timedelta | None:
        """Return how long ago a file was written, by the disk's own clock; None without a file.

        The clock of a network disk is that of its server.
        """
        path = self._local(name)
        with suppress(FileNotFoundError), tempfile.TemporaryFile(dir=path.parent) as probe:
            now = os.fstat(probe.fileno()).st_mtime
            return timedelta(seconds=now - path.stat().st_mtime)
        return None

    def sync(self, folder: str) -> None:
        """Flush all files of a folder to the disk."""
        for path, _, names in os.walk(self._local(folder)):
            for name in names:
                sync(Path(path, name))
            sync(Path(path))

    def copy_command(self, source: str, target: str) -> str:
        """Return the shell command that copies the file `source` to `target`."""
        old, new = (str(self._local(name)) for name in (source, target))
        folder = shlex.quote(str(Path(new).parent))
        return f"mkdir -p {folder} && cp {shlex.quote(old)} {shlex.quote(new)}"

    def _local(self, name: str) -> Path:
        return self._folder / name

    def _write_aside(
        self,
        name: str,
        aside: str,
        write: Callable[[Path], object],
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        target = self._local(name)
        incomplete = self._local(aside) / f"{target.name}.{secrets.token_hex(4)}.new"
        for folder in (incomplete.parent, target.parent):
            _make_folder(folder)
        try:
            write(incomplete)
            sync(incomplete)
            if still_wanted():
                os.replace(incomplete, target)
        finally:
            incomplete.unlink(missing_ok=True)
        sync(target.parent)


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are missing, so that a power cut leaves them."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
