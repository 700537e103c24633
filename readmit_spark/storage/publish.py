"""Publish the result of a job as a whole or not at all, on a disk, on HDFS and on S3.

Each run of a job writes into a folder of its own, `ROOT/JOB/RUN/`, which no reader knows. When
everything is written, one small file is replaced: the manifest, `ROOT/_manifests/JOB.json`. It
names the folder, so from then on every reader sees the new run. Nothing is renamed, because S3
would copy every file.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.lock import Lock


class Publication:
    """The outputs of one run of one job. Holds the job's lock until `publish` or `abandon`.

    Temporary tables lie under `_work/JOB/`, where the next run deletes what a dead run left.
    `name` is the job, or `job/part` where a job publishes many results side by side, each with its
    own manifest.
    """

    def __init__(
        self,
        spark: SparkSession,
        root: str,
        name: str,
        overwrite: bool,
        now: Callable[[], datetime],
    ) -> None:
        """UserError where a result exists and `overwrite` is false, or where another run of the job
        is active."""
        self._files = Files(spark, root)
        self._name = name
        self._tables: dict[str, dict[str, Any]] = {}
        job = name.partition("/")[0]
        self._lock = Lock(self._files, job, now)
        self._seen = self._files.version(_manifest(name))
        self._before = _read(self._files, name)
        if self._before and not overwrite:
            self._lock.release()
            raise UserError(
                f"output.root: {root} has a result of {name} already; "
                "set output.overwrite=true to replace it, or another output.root"
            )
        self._files.delete(f"_work/{job}")  # of runs that died,
        self._tidy({})  # and what else they left
        self._ended = False
        run = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._run, self._work = f"{name}/{run}", f"_work/{job}/{run}"

    @property
    def path(self) -> str:
        """The folder of this run."""
        return self._files.path(self._run)

    def write_table(
        self, frame: DataFrame, name: str, partition_by: Sequence[str] = ()
    ) -> DataFrame:
        """Write Parquet and return the table as written."""
        path = f"{self.path}/{name}"
        written = self._write(frame, path, partition_by)
        rows = written.count()
        if not rows:
            # A partitioned table without rows has no file, so a reader could not find its columns.
            written = self._write(frame.limit(0), path, ())
        self.add_table(name, rows)
        return written

    def add_table(self, name: str, rows: int) -> None:
        """Register a table that was written to `path`/`name` without Spark."""
        self._tables[name] = {"rows": rows, "files": self._files.sizes(f"{self._run}/{name}")}

    def write_temp(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a temporary table and return it as written. It is deleted when the run ends; if the
        run dies, when the job's next run starts."""
        return self._write(frame, self._files.path(f"{self._work}/{name}"), ())

    def _write(self, frame: DataFrame, path: str, partition_by: Sequence[str]) -> DataFrame:
        frame.write.parquet(path, mode="overwrite", partitionBy=list(partition_by) or None)
        return frame.sparkSession.read.schema(frame.schema).parquet(path)

    def put(self, local: Path, name: str) -> None:
        """Copy a local file into the run folder."""
        self._files.put(local, f"{self._run}/{name}")

    def publish(self, facts: dict[str, Any], root_copies: Sequence[Path] = ()) -> None:
        """Make this run the current result; `facts` go into the manifest.

        root_copies: local files that are copied to the root as well, where people look for them;
        after the manifest, one by one.
        """
        self._files.delete(self._work)
        manifest = {"job": self._name, "run": self._run, "tables": self._tables, **facts}
        manifest["previous"] = self._before["run"] if self._before else None
        self._lock.check()
        text = json.dumps(manifest, indent=1)
        if not self._files.replace(_manifest(self._name), text, self._seen):
            raise UserError(
                f"output.root: another run published {self._name} under {self._files.root} while "
                "this one ran; that result is kept, run the job again to replace it"
            )
        for file in root_copies:
            self._files.put(file, file.name)
        self._tidy(manifest)
        self._lock.release()
        self._ended = True

    def abandon(self) -> None:
        """Delete what was written, unless it was published. Nothing happens after `publish`."""
        if self._ended:
            return
        # A publish that failed half-way may have replaced the manifest.
        if (_read(self._files, self._name) or {}).get("run") != self._run:
            self._files.delete(self._run)
        self._files.delete(self._work)
        self._lock.release()

    def _tidy(self, published: dict[str, Any]) -> None:
        """Delete all runs but the current one and the one before, which a reader may still be
        reading."""
        seen = published or self._before or {}
        keep = {seen.get("run"), seen.get("previous")}
        for run in self._files.names(self._name):
            if f"{self._name}/{run}" not in keep:
                self._files.delete(f"{self._name}/{run}")


def read_manifest(
    spark: SparkSession, root: str, name: str, tables: Sequence[str] | None = None
) -> dict[str, Any]:
    """The manifest of the last complete run of `name` under `root`, with `path`, the run folder.

    UserError where there is none, or where a file of `tables` (default: all of them) is missing or
    has another size.
    """
    files = Files(spark, root)
    job = name.partition("/")[0]
    found = _read(files, name)
    if found is None:
        raise UserError(
            f"output.root: {root} holds no complete result of {name}; run jobs/{job}.py first"
        )
    for table in found["tables"] if tables is None else tables:
        at = f"{found['run']}/{table}"
        if not files.exists(at) or files.sizes(at) != found["tables"][table]["files"]:
            raise UserError(
                f"output.root: {root}/{at} is not what jobs/{job}.py wrote (files are missing "
                f"or changed); run jobs/{job}.py again with output.overwrite=true"
            )
    return {**found, "path": files.path(found["run"])}


def has_result(spark: SparkSession, root: str, name: str) -> bool:
    """True where a complete run of `name` was published under `root`."""
    return _read(Files(spark, root), name) is not None


def _manifest(name: str) -> str:
    return f"_manifests/{name}.json"


def _read(files: Files, name: str) -> dict[str, Any] | None:
    if not files.exists(_manifest(name)):
        return None
    found: dict[str, Any] = json.loads(files.read(_manifest(name)))
    return found
