"""Publish the complete result of a job or nothing, on a local disk, HDFS or S3.

Each run writes into its own run folder, `ROOT/JOB/RUN/`, which readers do not look at yet. At the
end the run replaces one small file, the manifest `ROOT/_manifests/JOB.json`, which names the run
folder. From then on every reader sees the new run. Nothing is renamed, because S3 would copy every
file.
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
    """The outputs of one run of one job; holds the job's lock until `publish` or `abandon`.

    Temporary tables are in `_work/JOB/`. A run deletes there what runs that died have left.
    """

    def __init__(
        self,
        spark: SparkSession,
        root: str,
        name: str,
        overwrite: bool,
        now: Callable[[], datetime],
    ) -> None:
        """Take the job's lock.

        name: the job, or `job/part` if the job publishes several results, each with its own
        manifest. Raise a UserError if a result exists and `overwrite` is false, or if another run
        of the job is active.
        """
        self._files = Files(spark, root)
        self._name = name
        self._tables: dict[str, dict[str, Any]] = {}
        job = name.partition("/")[0]
        self._lock = Lock(self._files, job, now)
        self._manifest_version = self._files.version(_manifest(name))
        self._previous = _read(self._files, name)
        if self._previous and not overwrite:
            self._lock.release()
            raise UserError(
                f"output.root: {root} has a result of {name} already; "
                "set output.overwrite=true to replace it, or another output.root"
            )
        # Delete what runs that died have left.
        self._files.delete(f"_work/{job}")
        self._delete_old_runs(self._previous or {})
        self._ended = False
        run = f"{now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._run, self._temporary = f"{name}/{run}", f"_work/{job}/{run}"

    @property
    def path(self) -> str:
        """The run folder."""
        return self._files.path(self._run)

    def write_table(
        self, frame: DataFrame, name: str, partition_by: Sequence[str] = ()
    ) -> DataFrame:
        """Write a Parquet table into the run folder and return it as written."""
        path = f"{self.path}/{name}"
        written = self._write(frame, path, partition_by)
        rows = written.count()
        if not rows:
            # A partitioned table without rows has no file, so a reader could not find its columns.
            written = self._write(frame.limit(0), path, ())
        self.add_table(name, rows)
        return written

    def add_table(self, name: str, rows: int) -> None:
        """Register a table of `rows` rows that was written to `path`/`name` without Spark."""
        self._tables[name] = {"rows": rows, "files": self._files.sizes(f"{self._run}/{name}")}

    def write_temp(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a temporary table and return it as written.

        It is deleted when the run ends or, if the run dies, when the job's next run starts.
        """
        return self._write(frame, self._files.path(f"{self._temporary}/{name}"), ())

    def _write(self, frame: DataFrame, path: str, partition_by: Sequence[str]) -> DataFrame:
        frame.write.parquet(path, mode="overwrite", partitionBy=list(partition_by) or None)
        return frame.sparkSession.read.schema(frame.schema).parquet(path)

    def put(self, local: Path, name: str) -> None:
        """Copy a local file into the run folder."""
        self._files.put(local, f"{self._run}/{name}")

    def publish(self, facts: dict[str, Any], root_copies: Sequence[Path] = ()) -> None:
        """Make this run the current result and end it.

        facts: more values for the manifest. root_copies: local files to copy to the root, after
        the manifest was replaced. Raise a UserError if another run has published meanwhile.
        """
        self._files.delete(self._temporary)
        manifest = {"job": self._name, "run": self._run, "tables": self._tables, **facts}
        manifest["previous"] = self._previous["run"] if self._previous else None
        self._lock.check()
        text = json.dumps(manifest, indent=1)
        if not self._files.replace(_manifest(self._name), text, self._manifest_version):
            raise UserError(
                f"output.root: another run published {self._name} under {self._files.root} while "
                "this one ran; that result is kept, run the job again to replace it"
            )
        for file in root_copies:
            self._files.put(file, file.name)
        self._delete_old_runs(manifest)
        self._lock.release()
        self._ended = True

    def abandon(self) -> None:
        """Delete what this run wrote and release the lock; do nothing after `publish`."""
        if self._ended:
            return
        # A publish that failed half-way may have replaced the manifest.
        if (_read(self._files, self._name) or {}).get("run") != self._run:
            self._files.delete(self._run)
        self._files.delete(self._temporary)
        self._lock.release()

    def _delete_old_runs(self, manifest: dict[str, Any]) -> None:
        """Delete all runs but the manifest's and the previous one, which may still be read."""
        keep = {manifest.get("run"), manifest.get("previous")}
        for run in self._files.names(self._name):
            if f"{self._name}/{run}" not in keep:
                self._files.delete(f"{self._name}/{run}")


def read_manifest(
    spark: SparkSession, root: str, name: str, tables: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the current manifest of `name` under `root`, with `path`: the run folder.

    Raise a UserError if there is none, or if a file of `tables` (default: all tables) is missing or
    has another size.
    """
    files = Files(spark, root)
    job = name.partition("/")[0]
    manifest = _read(files, name)
    if manifest is None:
        raise UserError(
            f"output.root: {root} holds no complete result of {name}; run jobs/{job}.py first"
        )
    for table in manifest["tables"] if tables is None else tables:
        folder = f"{manifest['run']}/{table}"
        if not files.exists(folder) or files.sizes(folder) != manifest["tables"][table]["files"]:
            raise UserError(
                f"output.root: {root}/{folder} is not what jobs/{job}.py wrote (files are missing "
                f"or changed); run jobs/{job}.py again with output.overwrite=true"
            )
    return {**manifest, "path": files.path(manifest["run"])}


def has_result(spark: SparkSession, root: str, name: str) -> bool:
    """Return whether a complete run of `name` was published under `root`."""
    return _read(Files(spark, root), name) is not None


def _manifest(name: str) -> str:
    return f"_manifests/{name}.json"


def _read(files: Files, name: str) -> dict[str, Any] | None:
    if not files.exists(_manifest(name)):
        return None
    try:
        manifest = json.loads(files.read(_manifest(name)))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not {"run", "tables"} <= manifest.keys():
        raise UserError(
            f"output.root: {files.path(_manifest(name))} is damaged or no manifest of this "
            "program; restore it, or move it away"
        )
    return manifest
