"""Getting a model folder to every node once, with no file system shared."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from readmit_spark.storage import fetch_folder


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
    sizes = "".join(f"{p.name}{p.stat().st_size}" for p in sorted(Path(folder).iterdir()))
    name = f"model-{hashlib.sha256(sizes.encode()).hexdigest()[:12]}"
    scratch = tempfile.mkdtemp(prefix="readmit-ship-")
    archive = shutil.make_archive(f"{scratch}/{name}", "zip", folder)
    context.addArchive(f"{archive}#{name}")
    return Shipped(name, archived=True)
