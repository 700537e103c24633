"""Small files and checkpoints that are either complete or absent, readable by every process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import fs

from readmit_spark.storage.local_files import sync
from readmit_spark.storage.s3 import filesystem_of


class FileStore:
    """Files of one folder on a local disk, HDFS or S3, without Spark."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._fs, self._path = filesystem_of(folder)

    def write(self, name: str, write: Callable[[Any], object]) -> None:
        """Call `write` with a binary file that becomes `name`.

        A reader sees either the previous or the complete new file: S3 shows an object only when it
        is complete; elsewhere a temporary file is written, on a disk also flushed, and renamed. Its
        name is always the same, so that a killed process leaves at most one file behind.
        """
        self._fs.create_dir(self._path, recursive=True)
        target = f"{self._path}/{name}"
        written = target if isinstance(self._fs, fs.S3FileSystem) else f"{target}.new"
        with self._fs.open_output_stream(written) as file:
            write(file)
        if written == target:
            return
        on_disk = isinstance(self._fs, fs.LocalFileSystem)
        if on_disk:
            sync(Path(written))
        self._fs.move(written, target)
        if on_disk:
            sync(Path(self._path))

    def read(self, name: str, read: Callable[[Any], Any]) -> Any:
        """Return the result of `read` on the binary file; raise FileNotFoundError if missing."""
        with self._fs.open_input_file(f"{self._path}/{name}") as file:
            return read(file)

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON."""
        self.write(name, lambda file: file.write(json.dumps(value).encode()))

    def read_json(self, name: str) -> Any:
        """Return the value of a JSON file, or None if there is no such file."""
        return self.read(name, lambda file: json.loads(file.read())) if self.has(name) else None

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        info = self._fs.get_file_info(f"{self._path}/{name}")
        return bool(info.type == fs.FileType.File)

    def names(self) -> list[str]:
        """Return the sorted names of all files; [] if the folder does not exist."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        return sorted(str(info.base_name) for info in self._fs.get_file_info(selector))

    def delete(self, name: str) -> None:
        """Delete a file; do nothing if there is no such file."""
        if self.has(name):
            self._fs.delete_file(f"{self._path}/{name}")

    def remove(self) -> None:
        """Delete the folder with all its files."""
        if self._fs.get_file_info(self._path).type == fs.FileType.Directory:
            self._fs.delete_dir(self._path)
