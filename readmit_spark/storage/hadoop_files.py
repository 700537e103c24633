"""File operations on HDFS or S3 through Spark's own Hadoop connector."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from readmit_spark.storage.s3 import etag, put_if_unchanged

_OBJECT_STORES = ("s3", "s3a", "s3n")
_CLOCK = "_clock"  # a file whose time of change is the store's present time


class HadoopFiles:
    """Files below `root`; all names are relative to it.

    A reader of a file sees either its previous or its complete new content. aside: the folder of
    the incomplete file on HDFS; S3 shows an object only when it is complete.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._jvm = cast(Any, spark._jvm)  # PySpark has no API for Hadoop file systems
        self._gateway: Any = spark.sparkContext._gateway
        self._path = self._jvm.org.apache.hadoop.fs.Path
        self._fs = self._path(root).getFileSystem(spark._jsc.hadoopConfiguration())
        self._on_object_store = str(self._fs.getUri().getScheme()) in _OBJECT_STORES
        self.root = root

    def path(self, name: str) -> str:
        """Return the full path of a file or folder."""
        return f"{self.root}/{name}"

    def is_file(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        status = self._status(name)
        return status is not None and not status.isDirectory()

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of files and folders in `folder`; [] if it does not exist."""
        path = self._hadoop_path(folder)
        if not self._fs.exists(path):
            return []
        return sorted(str(status.getPath().getName()) for status in self._fs.listStatus(path))

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of each data file of a table, by its path below the table's folder."""
        sizes: dict[str, int] = {}
        if not self._fs.exists(self._hadoop_path(name)):
            return sizes
        table = str(self._fs.makeQualified(self._hadoop_path(name)))
        files = self._fs.listFiles(self._hadoop_path(name), True)
        while files.hasNext():
            status = files.next()
            relative = str(status.getPath())[len(table) + 1 :]
            if not relative.rpartition("/")[2].startswith(("_", ".")):
                sizes[relative] = status.getLen()
        return dict(sorted(sizes.items()))

    def read(self, name: str) -> str:
        """Return the text of a small file; raise FileNotFoundError if it is missing."""
        stream = _or_none(lambda: self._fs.open(self._hadoop_path(name)))
        if stream is None:
            raise FileNotFoundError(self.path(name))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def delete(self, name: str) -> None:
        """Delete a file or a folder with its content; do nothing if it does not exist."""
        self._fs.delete(self._hadoop_path(name), True)

    def write(self, name: str, text: str, aside: str) -> None:
        """Create or replace a small file."""
        self._write_aside(name, aside, lambda target: self._create(target, text))

    def put(self, local: Path, name: str, aside: str) -> None:
        """Copy a local file to `name`."""
        source = self._path(str(local))
        self._write_aside(
            name,
            aside,
            lambda target: self._fs.copyFromLocalFile(
                False, True, source, self._hadoop_path(target)
            ),
        )

    def version(self, name: str) -> str | None:
        """Return what changes when the file is replaced; None without a file."""
        if self._on_object_store:
            return etag(self.path(name))
        status = self._status(name)
        return str(status.getModificationTime()) if status else None

    def replace(self, name: str, text: str, version: str | None, aside: str) -> bool:
        """Write a small file unless it has another `version`, because another process replaced it.

        Return whether it was written. On S3, exactly one of several processes gets True.
        """
        if self._on_object_store:
            return put_if_unchanged(self.path(name), text, version)
        if self.version(name) != version:
            return False
        self.write(name, text, aside)
        return True

    def touch(self, name: str) -> None:
        """Create an empty file."""
        self._create(name, "")

    def hide_from_git(self) -> None:
        """Do nothing: no folder there is in a git repository."""

    def create_new(self, name: str, text: str) -> bool:
        """Write a small file only if it does not exist yet.

        If several processes try at the same time, exactly one gets True.
        """
        if self._on_object_store:  # Hadoop's create is not atomic on S3
            return put_if_unchanged(self.path(name), text, expected_etag=None)
        if self.is_file(name):
            return False
        self._create(name, text, overwrite=False)
        return True

    def rewrite(self, name: str, text: str) -> None:
        """Replace the content of a small file. Its time becomes the present one."""
        self._create(name, text)

    def age(self, name: str) -> timedelta | None:
        """Return how long ago a file was written, by the store's own clock; None without a file."""
        clock = f"{name.rpartition('/')[0]}/{_CLOCK}"
        self._create(clock, "")
        now, file = self._status(clock), self._status(name)
        if file is None:
            return None
        return timedelta(milliseconds=now.getModificationTime() - file.getModificationTime())

    def sync(self, folder: str) -> None:
        """Do nothing: what was written is on the disks of HDFS or S3."""

    def copy_command(self, source: str, target: str) -> str:
        """Return the shell command that copies the file `source` to `target`."""
        program = "hdfs dfs -cp"
        old, new = self.path(source), self.path(target)
        if self._on_object_store:
            program = "aws s3 cp"
            old, new = (f"s3://{path.partition('://')[2]}" for path in (old, new))
        return f"{program} {shlex.quote(old)} {shlex.quote(new)}"

    def _status(self, name: str) -> Any:
        """Return the FileStatus of a file or folder; None if there is none. One request on S3."""
        return _or_none(lambda: self._fs.getFileStatus(self._hadoop_path(name)))

    def _hadoop_path(self, name: str) -> Any:
        return self._path(self.path(name))

    def _write_aside(self, name: str, aside: str, write: Callable[[str], None]) -> None:
        if self._on_object_store:
            write(name)
            return
        incomplete = f"{aside}/{name.rpartition('/')[2]}.{secrets.token_hex(4)}.new"
        write(incomplete)
        self._fs.mkdirs(self._hadoop_path(name).getParent())
        hadoop = self._jvm.org.apache.hadoop.fs
        options = self._gateway.new_array(hadoop.Options.Rename, 1)
        options[0] = hadoop.Options.Rename.OVERWRITE
        context = hadoop.FileContext.getFileContext(self._fs.getUri())
        context.rename(self._hadoop_path(incomplete), self._hadoop_path(name), options)

    def _create(self, name: str, text: str, overwrite: bool = True) -> None:
        stream = self._fs.create(self._hadoop_path(name), overwrite)
        try:
            stream.write(bytearray(text.encode()))
            if not self._on_object_store:
                stream.hsync()
        finally:
            stream.close()


def _or_none(call: Callable[[], Any]) -> Any:
    """Return the result of a call of Hadoop; None if its file is missing."""
    try:
        return call()
    except Py4JJavaError as error:
        if "java.io.FileNotFoundException" in str(error.java_exception):
            return None
        raise
