"""One run of a job: what it computes with, and how its result is published."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config import Config, to_dict
from readmit_spark.progress import Progress
from readmit_spark.storage.output_tables import check_schema, output_table
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done


class Run:
    """One run of one job. Use it as a context manager: leaving it removes what the run wrote and
    did not publish, and releases the job's lock.

    spark, config, progress: of this run. now: the clock. path: the folder of this run.
    """

    def __init__(
        self,
        spark: SparkSession,
        config: Config,
        name: str,
        progress: Progress,
        now: Callable[[], datetime],
        overwrite: bool = True,
    ) -> None:
        """name: the job, or `job/part` where a job publishes many results side by side. overwrite:
        whether an earlier result of that name is replaced.

        UserError where there is an earlier result and `overwrite` is false, or where another run of
        the job is active.
        """
        self.spark, self.config, self.progress, self.now = spark, config, progress, now
        self._started = now()
        self._job = name.partition("/")[0]
        self._publication = Publication(spark, config.output_root, name, overwrite, now)
        self.path = self._publication.path

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._publication.abandon()  # keeps what was published

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A numbered, timed stage of the progress output, with Spark's tasks counted in it."""
        return self.progress.stage(name, tasks_done(self.spark))

    def say(self, line: str) -> None:
        """Print one line of progress."""
        self.progress.say(line)

    def write_table(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a table of `output_tables` into the run folder and return it as written."""
        table = output_table(self._job, name)
        check_schema(frame.schema, table, f"{self._job}/{name}")
        return self._publication.write_table(frame, name, table.partition_by)

    def add_table(self, name: str, rows: int) -> None:
        """Register a table that was written to `path`/`name` without Spark."""
        self._publication.add_table(name, rows)

    def write_temp(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a temporary table and return it as written: computed once, read many times. It is
        deleted when the run ends."""
        return self._publication.write_temp(frame, name)

    def publish(
        self,
        facts: Mapping[str, Any],
        files: Mapping[str, str | bytes] | None = None,
        root_copies: bool = True,
    ) -> dict[str, Any]:
        """Make this run's tables and files the current result; return the manifest's facts.

        facts: for the manifest, beside the times, the configuration and the seconds of each stage.
        files: name -> content of pages, pictures and metrics; root_copies puts a copy of each at
        output.root.
        """
        with tempfile.TemporaryDirectory() as folder:
            local = [_write(Path(folder) / name, text) for name, text in (files or {}).items()]
            for file in local:
                self._publication.put(file, file.name)
            complete = {
                "started": self._started.isoformat(timespec="seconds"),
                "finished": self.now().isoformat(timespec="seconds"),
                "config": to_dict(self.config),
                "seconds": self.progress.seconds,
                **facts,
            }
            self._publication.publish(complete, root_copies=local if root_copies else ())
        return complete


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
