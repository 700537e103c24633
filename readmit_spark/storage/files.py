"""File operations on a local disk, HDFS or S3 through Spark's own Hadoop connector."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark.storage.s3 import etag, put_if_unchanged

_OBJECT_STORES = ("s3", "s3a", "s3n")


class Files:
    """Files below `root`; all names are relative to it.

    A reader of a file sees either its previous or its complete new content.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._jvm = spark._jvm  # PySpark has no API for Hadoop file systems
        self._gateway = spark.sparkContext._gateway
        self._path = self._jvm.org.apache.hadoop.fs.Path
        self._fs = self._path(root).getFileSystem(spark._jsc.hadoopConfiguration())
        self._scheme = str(self._fs.getUri().getScheme())
        self.root = root

    def path(self, name: str) -> str:
        """Return the full path of a file or folder."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder of this name."""
        return bool(self._fs.exists(self._hadoop_path(name)))

    def delete(self, name: str) -> None:
        """Delete a file or a folder with its content; do nothing if it does not exist."""
        self._fs.delete(self._hadoop_path(name), True)

    def read(self, name: str) -> str:
        """Return the text of a small file."""
        stream = self._fs.open(self._hadoop_path(name))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """Create or replace a small file."""
        self._write_atomically(name, lambda target: self._create(target, text))

    def version(self, name: str) -> str | None:
        """Return the ETag of an S3 object for `replace`; None elsewhere or without an object."""
        return etag(self.path(name)) if self._scheme in _OBJECT_STORES else None

    def replace(self, name: str, text: str, version: str | None) -> bool:
        """Write a small file; on S3 only if the object still has this `version`.

        Return False if another process has replaced the object since.
        """
        if self._scheme in _OBJECT_STORES:
            return put_if_unchanged(self.path(name), text, version)
        self.write(name, text)
        return True

    def put(self, local: Path, name: str) -> None:
        """Copy a local file to `name`."""
        self._write_atomically(name, lambda target: self._copy(local, target))

    def create_new(self, name: str, text: str) -> bool:
        """Write a small file only if it does not exist yet.

        If several processes try at the same time, exactly one gets True.
        """
        if self._scheme == "file":
            temporary = f"{name}.{secrets.token_hex(4)}.new"
            self._create(temporary, text)
            try:
                os.link(self._local(temporary), self._local(name))
            except FileExistsError:
                return False
            finally:
                os.unlink(self._local(temporary))
            return True
        if self._scheme in _OBJECT_STORES:  # Hadoop's create is not atomic on S3
            return put_if_unchanged(self.path(name), text, expected_etag=None)
        if self.exists(name):
            return False
        self._create(name, text, overwrite=False)
        return True

    def sizes(self, name: str) -> dict[str, int]:
        """Return the bytes of each data file of a table, by its path below the table's folder."""
        sizes: dict[str, int] = {}
        table = str(self._fs.makeQualified(self._hadoop_path(name)))
        files = self._fs.listFiles(self._hadoop_path(name), True)
        while files.hasNext():
            status = files.next()
            relative = str(status.getPath())[len(table) + 1 :]
            if not relative.rpartition("/")[2].startswith(("_", ".")):
                sizes[relative] = status.getLen()
        return dict(sorted(sizes.items()))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of files and folders in `folder`; [] if it does not exist."""
        if not self.exists(folder):
            return []
        statuses = self._fs.listStatus(self._hadoop_path(folder))
        return sorted(str(status.getPath().getName()) for status in statuses)

    def _hadoop_path(self, name: str):  # type: ignore[no-untyped-def]  # a Java object
        return self._path(self.path(name))

    def _local(self, name: str) -> Path:
        return Path(str(self._fs.makeQualified(self._hadoop_path(name)).toUri().getPath()))

    def _write_atomically(self, name: str, write: Callable[[str], None]) -> None:
        if self._scheme in _OBJECT_STORES:  # an object appears when its PUT is complete
            write(name)
            return
        temporary = f"{name}.{secrets.token_hex(4)}.new"
        write(temporary)
        if self._scheme == "file":
            os.replace(self._local(temporary), self._local(name))
            return
        hadoop = self._jvm.org.apache.hadoop.fs
        options = self._gateway.new_array(hadoop.Options.Rename, 1)
        options[0] = hadoop.Options.Rename.OVERWRITE
        context = hadoop.FileContext.getFileContext(self._fs.getUri())
        context.rename(self._hadoop_path(temporary), self._hadoop_path(name), options)

    # Local files are written by Python. Hadoop would write a checksum file beside each of them,
    # and would reject the file after it was replaced without Hadoop.

    def _create(self, name: str, text: str, overwrite: bool = True) -> None:
        if self._scheme == "file":
            self._local(name).parent.mkdir(parents=True, exist_ok=True)
            self._local(name).write_text(text)
            return
        stream = self._fs.create(self._hadoop_path(name), overwrite)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def _copy(self, local: Path, name: str) -> None:
        if self._scheme == "file":
            self._local(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, self._local(name))
            return
        self._fs.copyFromLocalFile(False, True, self._path(str(local)), self._hadoop_path(name))
