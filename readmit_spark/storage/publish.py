"""Publish the complete result of a job or nothing, on a local disk, HDFS or S3.

Each run writes into its own run folder, `ROOT/JOB/RUN/`, which readers do not look at yet. At the
end the run replaces one small file, the manifest `ROOT/_manifests/JOB.json`, which names the run
folder. From then on every reader sees the new run. No table is renamed, because S3 would copy it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files, open_files
from readmit_spark.storage.lock import Lock
from readmit_spark.storage.manifest_files import (
    COPY,
    DamagedManifest,
    check_not_lost,
    last_published,
    manifest_path,
    read_manifest_file,
)
from readmit_spark.storage.run_folders import (
    MARKER,
    delete_run_folder,
    delete_run_folders,
    make_run_folder,
    run_name,
)


class Publication:
    """The outputs of one run of one job; holds the job's lock until `close`.

    Temporary tables are in `_work/JOB/RUN/`. A run deletes there what runs that died have left.
    """

    def __init__(
        self, files: Files, name: str, overwrite: bool, now: Callable[[], datetime]
    ) -> None:
        """Take the job's lock.

        name: the job, or `job/part` if the job publishes several results, each with its own
        manifest. Raise a UserError if a result exists and `overwrite` is false, if the manifest of
        a result is lost, or if another run of the job is active.
        """
        self._files = files
        self._name = name
        self._tables: dict[str, dict[str, Any]] = {}
        self._published = self._closed = False
        job = name.partition("/")[0]
        run = run_name(now(), secrets.token_hex(3))
        self._run, self._temporary = f"{name}/{run}", f"_work/{job}/{run}"
        files.hide_from_git()
        self._lock = Lock(files, job, now)
        try:
            self._version = files.version(manifest_path(name))
            self._replaced = self._result_to_replace(overwrite)
            delete_run_folders(files, f"_work/{job}")
            make_run_folder(files, self._temporary)
            make_run_folder(files, self._run)
            self._copy_of_replaced()
        except BaseException:
            self._lock.release()
            raise

    @property
    def path(self) -> str:
        """The run folder."""
        return self._files.path(self._run)

    def write_table(
        self, frame: DataFrame, name: str, partition_by: Sequence[str] = ()
    ) -> DataFrame:
        """Write a Parquet table into the run folder and return it as written."""
        path = f"{self.path}/{name}"
        counts = Observation(f"rows of {name}")  # counted while they are written
        counted = frame.observe(counts, F.count(F.lit(1)).alias("rows"))
        written = self._write(counted, path, partition_by)
        rows = counts.get["rows"]
        if partition_by and not rows:
            # A partitioned table without rows has no file, so a reader could not find its columns.
            written = self._write(frame.limit(0), path, ())
        self.add_table(name, rows)
        self._tables[name]["columns"] = frame.schema.jsonValue()
        return written

    def add_table(self, name: str, rows: int) -> None:
        """Register a table of `rows` rows that was written to `path`/`name` without Spark."""
        self._tables[name] = {"rows": rows, "files": self._files.sizes(f"{self._run}/{name}")}

    def rows(self, name: str) -> int:
        """Return the number of rows of a table that was written."""
        rows: int = self._tables[name]["rows"]
        return rows

    def write_temp(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a temporary table and return it as written.

        It is deleted when the run ends or, if the run dies, when the job's next run starts.
        """
        return self._write(frame, self._files.path(f"{self._temporary}/{name}"), ())

    def _write(self, frame: DataFrame, path: str, partition_by: Sequence[str]) -> DataFrame:
        frame.write.parquet(path, mode="overwrite", partitionBy=list(partition_by) or None)
        return frame.sparkSession.read.schema(frame.schema).parquet(path)

    def put(self, local: Path, name: str) -> None:
        """Copy a local file into the run folder, before or after `publish`."""
        self._files.put(local, f"{self._run}/{name}", self._temporary)

    def put_root_copy(self, local: Path, name: str) -> None:
        """Copy a local file to the root, where people look for it."""
        self._files.put(local, name, self._temporary)

    def restore_root_copy(self, run: str, name: str) -> None:
        """Copy a file of an earlier run folder to the root."""
        self._files.write(name, self._files.read(f"{run}/{name}"), self._temporary)

    def publish(self, facts: dict[str, Any]) -> None:
        """Make this run the current result; then delete the runs before the previous one.

        facts: more values for the manifest. Raise a UserError if another run has published
        meanwhile.
        """
        files, previous = self._files, self._replaced.get("run")
        values = {"job": self._name, "run": self._run, "tables": self._tables, **facts}
        text = json.dumps({**values, "previous": previous}, indent=1)
        files.write(f"{self._run}/{MARKER}", text, self._temporary)
        files.sync(self._run)
        self._lock.check()
        if not files.replace(manifest_path(self._name), text, self._version, self._temporary):
            raise UserError(
                f"output.root: another run published {self._name} under {files.root} while "
                "this one ran; that result is kept, run the job again to replace it"
            )
        self._published = True
        files.write(f"{self._run}/{COPY}", text, self._temporary)
        # The previous run may still be read.
        known = [previous, self._replaced.get("previous")]
        delete_run_folders(files, self._name, keep=[self._run, previous], known=known)

    def close(self) -> None:
        """End the run: delete what is temporary, and all that was not published; release the lock.

        Do nothing the second time.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._published and not self._may_be_current():
                delete_run_folder(self._files, self._run)
            delete_run_folder(self._files, self._temporary)
        finally:
            self._lock.release()

    def _may_be_current(self) -> bool:
        """Return whether a `publish` that failed may have replaced the manifest all the same."""
        try:
            manifest = read_manifest_file(self._files, self._name)
        except DamagedManifest:
            return True
        return manifest is not None and manifest["run"] == self._run

    def _result_to_replace(self, overwrite: bool) -> dict[str, Any]:
        """Return the manifest that this run will replace; {} if there is none."""
        files, name = self._files, self._name
        try:
            manifest = read_manifest_file(files, name)
        except DamagedManifest:
            if not overwrite:
                raise
            return {"run": last_published(files, name)}
        if manifest is None:
            check_not_lost(files, name)
            return {}
        if not overwrite:
            raise UserError(
                f"output.root: {files.root} has a result of {name} already; "
                "set output.overwrite=true to replace it, or another output.root"
            )
        return manifest

    def _copy_of_replaced(self) -> None:
        """Copy the current manifest into its run folder, if the run that published it was killed
        before it did so, or was one of an earlier version."""
        run = self._replaced.get("run")
        names = self._files.names(run) if run else []
        if names and COPY not in names:
            text = json.dumps(self._replaced, indent=1)
            self._files.write(f"{run}/{COPY}", text, self._temporary)


def read_manifest(
    spark: SparkSession, root: str, name: str, tables: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the current manifest of `name` under `root`, with `path`: the run folder.

    Raise a UserError if there is none, if it is damaged, or if a file of `tables` (default: all
    tables) is missing or has another size.
    """
    files = open_files(spark, root)
    job = name.partition("/")[0]
    manifest = read_manifest_file(files, name)
    if manifest is None:
        check_not_lost(files, name)
        raise UserError(
            f"output.root: {root} holds no complete result of {name}; run jobs/{job}.py first"
        )
    for table in manifest["tables"] if tables is None else tables:
        folder = f"{manifest['run']}/{table}"
        sizes = manifest["tables"].get(table, {}).get("files")
        if sizes is None or files.sizes(folder) != sizes:
            raise UserError(
                f"output.root: {root}/{folder} is not what jobs/{job}.py wrote (files are missing "
                f"or changed); run jobs/{job}.py again with output.overwrite=true"
            )
    return {**manifest, "path": files.path(manifest["run"])}


def has_result(spark: SparkSession, root: str, name: str) -> bool:
    """Return whether a complete run of `name` was published under `root`.

    Raise a UserError if its manifest is damaged.
    """
    return read_manifest_file(open_files(spark, root), name) is not None
