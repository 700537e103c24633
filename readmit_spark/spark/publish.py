"""Results that are there whole or not at all.

A job writes into a staging folder under the root. When everything is there, a journal is written,
each output is moved to its place, and the manifest comes last. A job that dies before the journal
has changed nothing; one that dies behind it is finished by whoever opens the root next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.errors import UserError


class Files:
    """The few file operations that a disk, HDFS and S3 share, through Spark's own connector."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        jvm = spark._jvm  # the file system API has no Python face
        self._path = jvm.org.apache.hadoop.fs.Path
        self._fs = self._path(root).getFileSystem(spark._jsc.hadoopConfiguration())
        self.root = root

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(self.path(name))))

    def delete(self, name: str) -> None:
        self._fs.delete(self._path(self.path(name)), True)

    def move(self, source: str, target: str) -> None:
        self._fs.mkdirs(self._path(self.path(target)).getParent())
        if not self._fs.rename(self._path(self.path(source)), self._path(self.path(target))):
            raise OSError(f"{self.path(source)} could not be moved to {self.path(target)}")

    def write(self, name: str, text: str) -> None:
        """One small object, there whole or not at all: written aside, then moved."""
        stream = self._fs.create(self._path(self.path(f"{name}.new")), True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()
        self.delete(name)
        self.move(f"{name}.new", name)

    def read(self, name: str) -> str:
        stream = self._fs.open(self._path(self.path(name)))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def put(self, local: Path, name: str) -> None:
        self._fs.copyFromLocalFile(False, True, self._path(str(local)), self._path(self.path(name)))

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of each file of a table, by its path below the table."""
        found: dict[str, int] = {}
        base = str(self._fs.makeQualified(self._path(self.path(name))))
        files = self._fs.listFiles(self._path(self.path(name)), True)
        while files.hasNext():
            status = files.next()
            relative = str(status.getPath())[len(base) + 1 :]
            if not relative.rpartition("/")[2].startswith(("_", ".")):
                found[relative] = status.getLen()
        return dict(sorted(found.items()))

    def names(self, folder: str) -> list[str]:
        if not self.exists(folder):
            return []
        return [
            str(s.getPath().getName()) for s in self._fs.listStatus(self._path(self.path(folder)))
        ]


class Publication:
    """The outputs of one run of one job, staged and then published together."""

    def __init__(
        self, spark: SparkSession, root: str, job: str, outputs: Sequence[str], overwrite: bool
    ) -> None:
        """UserError where an output is there already and `overwrite` is false."""
        self._files = Files(spark, root)
        self._job = job
        self._outputs = list(outputs)
        self._staging = f"_staging/{job}"
        self._tables: dict[str, dict[str, Any]] = {}
        finish(self._files)
        there = [name for name in outputs if self._files.exists(name)]
        if there and not overwrite:
            raise UserError(
                f"output.root: {root} has {', '.join(there)} already; "
                "set output.overwrite=true to replace them, or another output.root"
            )
        self._files.delete(self._staging)

    def write_table(
        self, frame: DataFrame, name: str, partition_by: Sequence[str] = ()
    ) -> DataFrame:
        """Writes Parquet to the staging folder and gives back the table as written."""
        written = self._write(frame, name, partition_by)
        rows = written.count()
        if not rows:
            # Without a row there is no partition, so no file, and nothing that tells the columns.
            written = self._write(frame.limit(0), name, ())
        self._tables[name] = {
            "rows": rows,
            "files": self._files.sizes(f"{self._staging}/{name}"),
        }
        return written

    def write_work(self, frame: DataFrame, name: str) -> DataFrame:
        """A table for this run alone, gone with the staging folder: cut once, read many times."""
        return self._write(frame, f"work/{name}", ())

    def _write(self, frame: DataFrame, name: str, partition_by: Sequence[str]) -> DataFrame:
        path = self._files.path(f"{self._staging}/{name}")
        frame.write.parquet(path, mode="overwrite", partitionBy=list(partition_by) or None)
        return frame.sparkSession.read.schema(frame.schema).parquet(path)

    def put(self, local: Path, name: str) -> None:
        """Stages a local file."""
        self._files.put(local, f"{self._staging}/{name}")

    def publish(self, facts: dict[str, Any]) -> None:
        """Moves everything into place; `facts` go into the manifest."""
        manifest = {
            "job": self._job, "outputs": self._outputs, "tables": self._tables, **facts
        }  # fmt: skip
        before = f"_manifests/{self._job}.json"
        known = (
            json.loads(self._files.read(before))["outputs"] if self._files.exists(before) else []
        )
        stale = [name for name in known if name not in self._outputs]
        journal = {"job": self._job, "stale": stale, "manifest": manifest}
        self._files.write(f"_journal/{self._job}.json", json.dumps(journal))
        finish(self._files)

    def abandon(self) -> None:
        """Removes what was staged, unless its publication has begun: that is finished later."""
        if not self._files.exists(f"_journal/{self._job}.json"):
            self._files.delete(self._staging)


def finish(files: Files) -> None:
    """Completes publications that a dead run began. Each step can be done twice without harm."""
    for entry in files.names("_journal"):
        if not entry.endswith(".json"):
            continue
        journal = json.loads(files.read(f"_journal/{entry}"))
        job = journal["job"]
        files.delete(f"_manifests/{job}.json")
        for name in journal["stale"]:  # of an earlier run that made more
            files.delete(name)
        for name in journal["manifest"]["outputs"]:
            staged = f"_staging/{job}/{name}"
            if files.exists(staged):
                files.delete(name)
                files.move(staged, name)
        files.write(f"_manifests/{job}.json", json.dumps(journal["manifest"], indent=1))
        files.delete(f"_staging/{job}")
        files.delete(f"_journal/{entry}")


def manifest(spark: SparkSession, root: str, job: str) -> dict[str, Any]:
    """What the last complete run of `job` under `root` published.

    UserError where there is none, or where a file of its tables is gone or has another size.
    """
    files = Files(spark, root)
    finish(files)
    name = f"_manifests/{job}.json"
    if not files.exists(name):
        raise UserError(
            f"output.root: {root} holds no complete result of {job}; run jobs/{job}.py first"
        )
    found: dict[str, Any] = json.loads(files.read(name))
    for table, facts in found["tables"].items():
        if not files.exists(table) or files.sizes(table) != facts["files"]:
            raise UserError(
                f"output.root: {root}/{table} is not what jobs/{job}.py wrote (files are missing "
                f"or changed); run jobs/{job}.py again with output.overwrite=true"
            )
    return found
