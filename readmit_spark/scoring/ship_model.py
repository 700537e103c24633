"""Getting a model folder to every node once, with no file system shared."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from readmit_spark.storage.s3 import fetch_folder


@dataclass(frozen=True)
class Shipped:
    """A folder on the driver, the archive that Spark unpacks once an executor, or the version of a
    folder of S3 (`source`) that each node fetches once."""

    name: str
    archived: bool
    source: str | None = None

    def folder(self) -> str:
        """The folder on this node."""
        if self.source:
            return str(fetch_folder(self.source, version=self.name))
        return SparkFiles.get(self.name) if self.archived else self.name


def ship(spark: SparkSession, folder: str, source: str | None = None) -> Shipped:
    """Makes `folder` available to all executors; in local mode they read it where it is.

    source: the folder of S3 that `storage.fetch_folder` made it of, where it is one.
    """
    context = spark.sparkContext
    if (context.master or "").split("[")[0] == "local":
        return Shipped(str(Path(folder).absolute()), archived=False)
    if source:
        return Shipped(Path(folder).name, archived=False, source=source)
    name = f"model-{_digest(folder)[:12]}"
    scratch = tempfile.mkdtemp(prefix="readmit-ship-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # served as long as Spark runs
    # Not compressed, as weights do not shrink; a hub's folder holds links to its files.
    with tarfile.open(f"{scratch}/{name}.tar", "w", dereference=True) as archive:
        for path in sorted(Path(folder).iterdir()):
            archive.add(path, arcname=path.name)  # not the folder itself: Hadoop refuses "./"
    context.addArchive(f"{scratch}/{name}.tar#{name}")
    return Shipped(name, archived=True)


def _digest(folder: str) -> str:
    """Of all that is in the folder: two models of one size are still two."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()
