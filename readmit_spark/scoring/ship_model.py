"""Send a model folder to every node once, without a shared file system."""

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
class ShippedModel:
    """Where executors find the model's files.

    name: a local folder; or, if `archived`, an archive that Spark unpacks once on each executor;
    or, with `source`, the version of that s3:// folder, which each node fetches once.
    """

    name: str
    archived: bool
    source: str | None = None

    def folder(self) -> str:
        """Return the folder on this node; fetch it first if it is not there yet."""
        if self.source:
            return str(fetch_folder(self.source, version=self.name))
        return SparkFiles.get(self.name) if self.archived else self.name


def ship(spark: SparkSession, folder: str, source: str | None = None) -> ShippedModel:
    """Make `folder` available to all executors. In local mode they read the folder itself.

    source: the s3:// folder that `folder` is a copy of; None if there is none.
    """
    context = spark.sparkContext
    if (context.master or "").split("[")[0] == "local":
        return ShippedModel(str(Path(folder).absolute()), archived=False)
    if source:
        return ShippedModel(Path(folder).name, archived=False, source=source)
    name = f"model-{_digest(folder)[:12]}"
    scratch = tempfile.mkdtemp(prefix="readmit-ship-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)  # Spark serves it until it stops
    # Not compressed: weights do not shrink. dereference: a hub folder holds links to its files.
    with tarfile.open(f"{scratch}/{name}.tar", "w", dereference=True) as archive:
        for path in sorted(Path(folder).iterdir()):
            archive.add(path, arcname=path.name)  # file by file: Hadoop refuses the entry "./"
    context.addArchive(f"{scratch}/{name}.tar#{name}")
    return ShippedModel(name, archived=True)


def _digest(folder: str) -> str:
    """Hash the names and contents of all files: two models can have files of the same size."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()
