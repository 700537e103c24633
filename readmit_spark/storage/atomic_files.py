"""Small files that are there whole or not at all, where every process can reach them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pyarrow import fs

from readmit_spark.storage.s3 import filesystem_of


class FileStore:
    """A folder on a disk, HDFS or S3: of checkpoints, and of what went wrong."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._fs, self._path = filesystem_of(folder)

    def write(self, name: str, write: Callable[[Any], object]) -> None:
        """`write` gets a binary file. A reader sees the file before it or the whole new one: on S3
        an object appears when it is complete, elsewhere it is written aside and moved."""
        self._fs.create_dir(self._path, recursive=True)
        target = f"{self._path}/{name}"
        aside = target if isinstance(self._fs, fs.S3FileSystem) else f"{target}.new"
        with self._fs.open_output_stream(aside) as file:
            write(file)
        if aside != target:
            self._fs.move(aside, target)

    def read(self, name: str, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of the binary file; FileNotFoundError where there is none."""
        with self._fs.open_input_file(f"{self._path}/{name}") as file:
            return read(file)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, lambda file: file.write(json.dumps(value).encode()))

    def read_json(self, name: str) -> Any:
        """The value, or None where there is no such file."""
        return self.read(name, lambda file: json.loads(file.read())) if self.has(name) else None

    def has(self, name: str) -> bool:
        found = self._fs.get_file_info(f"{self._path}/{name}")
        return bool(found.type == fs.FileType.File)

    def names(self) -> list[str]:
        selector = fs.FileSelector(self._path, allow_not_found=True)
        return sorted(str(info.base_name) for info in self._fs.get_file_info(selector))

    def delete(self, name: str) -> None:
        """Removes the file; nothing happens where there is none."""
        if self.has(name):
            self._fs.delete_file(f"{self._path}/{name}")

    def remove(self) -> None:
        """Removes the whole folder."""
        if self._fs.get_file_info(self._path).type == fs.FileType.Directory:
            self._fs.delete_dir(self._path)
