"""Chunk scores that outlive a run which does not end, so that the next run need not repeat them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.code_version import code_version
from readmit_spark.scoring.precision_probe import PrecisionProbe
from readmit_spark.scoring.score_chunks import (
    SCORES,
    ScorerSettings,
    score_chunks,
    task_of,
)
from readmit_spark.storage.files import Files, open_files
from readmit_spark.storage.run import Run
from readmit_spark.storage.run_folders import run_folders

_PARENT = "_work/score"
_KEPT = re.compile(r"scores-[0-9a-f]{16}")
_TASKS = "_tasks.json"  # also marks the folder as made by this program
# Each task's file appears when the task ends, not when all tasks have ended.
_COMMIT_EACH_TASK = {
    "mapreduce.fileoutputcommitter.algorithm.version": "2",
    "fs.s3a.committer.name": "file",
    "spark.sql.parquet.output.committer.class": "org.apache.parquet.hadoop.ParquetOutputCommitter",
}


def scores_key(made_of: Mapping[str, Any], measured: PrecisionProbe) -> str:
    """Return 16 hex digits of everything that decides the chunk scores, to the last bit.

    made_of: model, chunks and settings. measured: engine and machine of an executor.
    """
    decisive = [dict(made_of), measured.backend, measured.machine, code_version()]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class KeptScores:
    """The chunk scores of one key in `_work/score/scores-KEY/`.

    Each run has a folder there with one file for each task that ended. A chunk's task depends on
    the number of tasks, and the last bits of its score on the other chunks of the task. So the
    first run's number of tasks is kept too, and a task is scored again as a whole or not at all.
    """

    run: Run
    key: str

    def score(self, distinct: DataFrame, tasks: int, settings: ScorerSettings) -> DataFrame:
        """Return digest, probability of each distinct chunk; score those that are not kept.

        distinct: the result of `distinct_chunks`. tasks: their number if nothing is kept. Scores of
        other keys are deleted.
        """
        tasks = self._begin(tasks)
        task = task_of(tasks)
        kept = self._kept(distinct.select("digest").withColumn("task", task))
        done = self._tasks_of(kept)
        missing = distinct.where(~task.isin(done)) if done else distinct
        own = self._path(self.run.path.rpartition("/")[2])
        new = score_chunks(missing, tasks, settings)
        new.write.options(**_COMMIT_EACH_TASK).parquet(own)
        scores = self.run.spark.read.schema(SCORES).parquet(own)
        return scores if kept is None else scores.unionByName(kept.drop("task"))

    def _tasks_of(self, kept: DataFrame | None) -> list[int]:
        """Return the tasks whose scores are kept, and print the number of their chunks."""
        if kept is None:
            return []
        counts = {row["task"]: row["count"] for row in kept.groupBy("task").count().collect()}
        n = sum(counts.values())
        self.run.say(f"{n:,} distinct chunks were scored by a run that did not end, and are kept")
        return list(counts)

    def delete(self) -> None:
        """Delete the scores, because they are published."""
        self._files.delete(self._folder)

    @property
    def _files(self) -> Files:
        return open_files(self.run.spark, self.run.config.output_root)

    @property
    def _folder(self) -> str:
        return f"{_PARENT}/scores-{self.key}"

    def _path(self, name: str) -> str:
        return self._files.path(f"{self._folder}/{name}")

    def _begin(self, tasks: int) -> int:
        """Delete the scores of other keys; return the number of tasks, of the first run if there
        was one."""
        files = self._files
        for name in filter(_KEPT.fullmatch, files.names(_PARENT)):
            folder = f"{_PARENT}/{name}"
            if folder != self._folder and _TASKS in files.names(folder):
                files.delete(folder)
        record = f"{self._folder}/{_TASKS}"
        if not files.create_new(record, json.dumps(tasks)):
            try:
                return int(json.loads(files.read(record)))
            except (ValueError, TypeError):  # killed while it was written, so nothing is kept yet
                files.delete(self._folder)
                files.create_new(record, json.dumps(tasks))
        return tasks

    def _kept(self, expected: DataFrame) -> DataFrame | None:
        """Return digest, probability, task of the tasks whose chunks all have a score.

        expected: digest, task of each distinct chunk. None if no run before has written a score.
        """
        runs = [self._files.path(folder) for folder in run_folders(self._files, self._folder)]
        if not runs:
            return None
        # A file that is cut off, by a power failure, makes its task incomplete.
        reader = self.run.spark.read.schema(SCORES).option("ignoreCorruptFiles", "true")
        found = reader.parquet(*runs).dropDuplicates(["digest"]).join(expected, "digest")
        complete = (
            expected.join(found.select("digest", "probability"), "digest", "left")
            .groupBy("task")
            .agg(F.count(F.lit(1)).alias("all"), F.count("probability").alias("scored"))
            .where("all = scored")
        )
        return found.join(F.broadcast(complete.select("task")), "task").select(
            *SCORES.names, "task"
        )
