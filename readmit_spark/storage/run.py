"""One run of a job: its session and configuration, its progress output and its published result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.storage.executors import ExecutorWatch
from readmit_spark.storage.files import open_files
from readmit_spark.storage.input_size import fit_to_input
from readmit_spark.storage.output_tables import check_schema, output_table
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done


class Run:
    """One run of one job, which holds the job's lock.

    Use it as a context manager: at the end of the block it deletes what was written but not
    published, and releases the lock. On a cluster it raises a UserError if the job had to wait too
    long for an executor. now: returns the current time. path: the run folder.
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
        """Take the job's lock.

        name: the job, or `job/part` if the job publishes several results. overwrite: replace an
        earlier result of this name. Raise a UserError if there is one and `overwrite` is false, or
        if another run of the job is active.
        """
        self.spark, self.config, self.progress, self.now = spark, config, progress, now
        self._started = now()
        self._job = name.partition("/")[0]
        files = open_files(spark, config.output_root)
        self._publication = Publication(files, name, overwrite, now)
        self.path = self._publication.path
        self._watch = ExecutorWatch(spark, progress.say)
        fit_to_input(spark, config)

    def __enter__(self) -> Run:
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.stop()
        self._publication.close()
        if error is not None and self._watch.failure:
            raise UserError(self._watch.failure) from None

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Number, print and time one stage, and print how many Spark tasks are done."""
        return self.progress.stage(name, tasks_done(self.spark))

    def say(self, line: str) -> None:
        """Print one line, prefixed with the job's name."""
        self.progress.say(line)

    def write_table(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a table of `output_tables` into the run folder and return it as written.

        Raise a RuntimeError if `frame` does not have the table's schema.
        """
        table = output_table(self._job, name)
        check_schema(frame.schema, table, f"{self._job}/{name}")
        return self._publication.write_table(frame, name, table.partition_by)

    def rows(self, name: str) -> int:
        """Return the number of rows of a table that this run has written."""
        return self._publication.rows(name)

    def add_table(self, name: str, rows: int) -> None:
        """Register a table of `rows` rows that was written to `path`/`name` without Spark."""
        self._publication.add_table(name, rows)

    def write_temp(self, frame: DataFrame, name: str) -> DataFrame:
        """Write a temporary table, so that it is computed only once; return it as written.

        It is deleted when the run ends.
        """
        return self._publication.write_temp(frame, name)

    def publish(
        self,
        facts: Mapping[str, Any],
        files: Mapping[str, str | bytes] | None = None,
        root_copies: bool = True,
    ) -> dict[str, Any]:
        """Make this run's tables and files the current result; return all facts of the manifest.

        facts: the job's own, with a `verdict` for the index of pages; times, configuration and the
        seconds of each stage are added. files:
        name -> content of pages, pictures and metrics. root_copies: also copy each file to
        output.root.
        """
        complete = {
            "started": self._started.isoformat(timespec="seconds"),
            "finished": self.now().isoformat(timespec="seconds"),
            "config": to_dict(self.config),
            "seconds": self.progress.seconds,
            "files": sorted(files or {}),
            **facts,
        }
        with _local_files(files or {}) as paths:
            for path in paths:
                self._publication.put(path, path.name)
            self._publication.publish(complete)
            for path in paths if root_copies else ():
                self._publication.put_root_copy(path, path.name)
        return complete

    def restore_root_copies(self, run: str, names: Sequence[str]) -> None:
        """Copy files of an earlier run folder to the root again."""
        for name in names:
            self._publication.restore_root_copy(run, name)


@contextmanager
def _local_files(contents: Mapping[str, str | bytes]) -> Iterator[list[Path]]:
    """Write the contents to temporary files of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        yield [_write(Path(folder) / name, content) for name, content in contents.items()]


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
