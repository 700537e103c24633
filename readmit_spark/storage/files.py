"""The few file operations that a disk, HDFS and S3 share, through Spark's own connector."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark.storage.s3 import etag, put_unless_changed

_OBJECT_STORES = ("s3", "s3a", "s3n")


class Files:
    """Files below `root`, by their names relative to it."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self._jvm = spark._jvm  # the file system API has no Python face
        self._gateway = spark.sparkContext._gateway
        self._path = self._jvm.org.apache.hadoop.fs.Path
        self._fs = self._path(root).getFileSystem(spark._jsc.hadoopConfiguration())
        self._scheme = str(self._fs.getUri().getScheme())
        self.root = root

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._at(name)))

    def delete(self, name: str) -> None:
        self._fs.delete(self._at(name), True)

    def read(self, name: str) -> str:
        stream = self._fs.open(self._at(name))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """One small object, which readers see whole: what was there before, or `text`."""
        self._whole(name, lambda target: self._create(target, text))

    def seen(self, name: str) -> str | None:
        """What `replace` knows an object by: S3's ETag; None elsewhere, and where there is none."""
        return etag(self.path(name)) if self._scheme in _OBJECT_STORES else None

    def replace(self, name: str, text: str, seen: str | None) -> bool:
        """`write`; but on S3 only over the object that was `seen`: False where it is another."""
        if self._scheme in _OBJECT_STORES:
            return put_unless_changed(self.path(name), text, seen)
        self.write(name, text)
        return True

    def put(self, local: Path, name: str) -> None:
        """A copy of a local file, which readers see whole like `write`'s."""
        self._whole(name, lambda target: self._copy(local, target))

    def create_new(self, name: str, text: str) -> bool:
        """Writes one small object unless it is there already; of two who try, one gets True."""
        if self._scheme == "file":
            aside = f"{name}.{secrets.token_hex(4)}.new"
            self._create(aside, text)
            try:
                os.link(self._local(aside), self._local(name))
            except FileExistsError:
                return False
            finally:
                os.unlink(self._local(aside))
            return True
        if self._scheme in _OBJECT_STORES:  # the connector looks first and writes then
            return put_unless_changed(self.path(name), text, seen=None)
        if self.exists(name):
            return False
        self._create(name, text, overwrite=False)
        return True

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of each file of a table, by its path below the table."""
        found: dict[str, int] = {}
        base = str(self._fs.makeQualified(self._at(name)))
        files = self._fs.listFiles(self._at(name), True)
        while files.hasNext():
            status = files.next()
            relative = str(status.getPath())[len(base) + 1 :]
            if not relative.rpartition("/")[2].startswith(("_", ".")):
                found[relative] = status.getLen()
        return dict(sorted(found.items()))

    def names(self, folder: str) -> list[str]:
        """What lies in `folder`, in order; nothing where there is no such folder."""
        if not self.exists(folder):
            return []
        return sorted(str(s.getPath().getName()) for s in self._fs.listStatus(self._at(folder)))

    def _at(self, name: str):  # type: ignore[no-untyped-def]  # a Java object
        return self._path(self.path(name))

    def _local(self, name: str) -> Path:
        return Path(str(self._fs.makeQualified(self._at(name)).toUri().getPath()))

    def _whole(self, name: str, write: Callable[[str], None]) -> None:
        if self._scheme in _OBJECT_STORES:  # one PUT, seen when it is complete
            write(name)
            return
        aside = f"{name}.{secrets.token_hex(4)}.new"
        write(aside)
        if self._scheme == "file":
            os.replace(self._local(aside), self._local(name))
            return
        hadoop = self._jvm.org.apache.hadoop.fs
        options = self._gateway.new_array(hadoop.Options.Rename, 1)
        options[0] = hadoop.Options.Rename.OVERWRITE
        context = hadoop.FileContext.getFileContext(self._fs.getUri())
        context.rename(self._at(aside), self._at(name), options)

    # On a disk Python writes: Hadoop would lay a checksum beside each file, and believe it after
    # the file was replaced.

    def _create(self, name: str, text: str, overwrite: bool = True) -> None:
        if self._scheme == "file":
            self._local(name).parent.mkdir(parents=True, exist_ok=True)
            self._local(name).write_text(text)
            return
        stream = self._fs.create(self._at(name), overwrite)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def _copy(self, local: Path, name: str) -> None:
        if self._scheme == "file":
            self._local(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, self._local(name))
            return
        self._fs.copyFromLocalFile(False, True, self._path(str(local)), self._at(name))
