"""A run that does not end leaves its chunk scores to the next run."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config_file import load_config
from readmit_spark.scoring import kept_scores
from readmit_spark.scoring.kept_scores import KeptScores, scores_key
from readmit_spark.scoring.precision_probe import PrecisionProbe
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    score_chunks,
    task_of,
)
from readmit_spark.scoring.ship_model import ShippedModel
from tests.runs import start_run

pytestmark = pytest.mark.spark4

SETTINGS = ScorerSettings(ShippedModel("nowhere", archived=False), "auto", "fp32", None)
CHUNKS, TASKS = 200, 8
KEY = "0123456789abcdef"


def build(calls: Path, failing_task: int | None, settings: ScorerSettings) -> Any:
    """Build a scorer that writes what it scores to a file of `calls`; one task can fail."""

    class Recording:
        backend = "fake"

        def stream(self, batches: Iterable[list[np.ndarray]]) -> Iterator[np.ndarray]:
            context = TaskContext.get()
            if context is not None and context.partitionId() == failing_task:
                raise RuntimeError("the node is gone")
            for chunks in batches:
                (calls / uuid4().hex).write_text(" ".join(str(chunk[1]) for chunk in chunks))
                yield np.array([chunk[1] / CHUNKS for chunk in chunks])

    return Recording()


class Backlog(NamedTuple):
    spark: SparkSession
    root: Path
    distinct: DataFrame
    patch: pytest.MonkeyPatch

    @property
    def folder(self) -> Path:
        return self.root / "_work" / "score" / f"scores-{KEY}"

    def score(
        self, tasks: int = TASKS, failing_task: int | None = None, key: str = KEY
    ) -> tuple[dict[int, float], list[int], str]:
        """Run; return the probabilities by chunk, the scored chunks and the progress lines."""
        calls, log = self.root / uuid4().hex, io.StringIO()
        calls.mkdir(parents=True)
        builder = partial(build, calls, failing_task)
        self.patch.setattr(kept_scores, "score_chunks", partial(score_chunks, build=builder))
        config = load_config()
        config = replace(config, output=replace(config.output, root=str(self.root)))
        with start_run(self.spark, config, "score", log) as run:
            scores = KeptScores(run, key).score(self.distinct, tasks, SETTINGS)
            rows = scores.join(self.distinct, "digest").collect()
        scored = [int(n) for path in calls.iterdir() for n in path.read_text().split()]
        assert len(rows) == len({row.input_ids[1] for row in rows})
        return {row.input_ids[1]: row.probability for row in rows}, scored, log.getvalue()

    def stopped(self) -> set[int]:
        """Run until a task fails; return the chunks whose scores are kept."""
        with pytest.raises(Exception, match="the node is gone"):
            self.score(failing_task=5)
        task = {r.n: r.task for r in self.distinct.select(
            F.col("input_ids")[1].alias("n"), task_of(TASKS).alias("task")).collect()}  # fmt: skip
        done = {int(part.name.split("-")[1]) for part in self.folder.glob("*/part-*.parquet")}
        return {n for n, t in task.items() if t in done}


@pytest.fixture
def backlog(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backlog]:
    rows = [(f"{n:064x}", [2, n, 3], 3) for n in range(CHUNKS)]
    schema = "digest string, input_ids array<int>, n_tokens int"
    yield Backlog(spark, tmp_path / "out", spark.createDataFrame(rows, schema), monkeypatch)


EXPECTED = {n: n / CHUNKS for n in range(CHUNKS)}


def test_the_task_of_a_chunk_is_its_partition(backlog: Backlog) -> None:
    placed = backlog.distinct.repartition(TASKS, "digest")
    assert placed.where(task_of(TASKS) != F.spark_partition_id()).count() == 0
    assert placed.select(task_of(TASKS)).distinct().count() == TASKS


def test_what_a_stopped_run_has_scored_is_not_scored_again(backlog: Backlog) -> None:
    kept = backlog.stopped()
    assert CHUNKS / 4 < len(kept) < CHUNKS
    probabilities, scored, log = backlog.score(tasks=3)  # of another cluster
    assert probabilities == EXPECTED
    assert sorted(scored) == sorted(EXPECTED.keys() - kept)
    assert f"{len(kept)} distinct chunks were scored by a run that did not end" in log
    probabilities, scored, _ = backlog.score()  # a fault after scoring, before publishing
    assert (probabilities, scored) == (EXPECTED, [])


def test_a_file_that_is_cut_off_makes_its_task_be_scored_again(backlog: Backlog) -> None:
    kept = backlog.stopped()
    cut, empty, *_ = sorted(backlog.folder.glob("*/part-*.parquet"))
    cut.write_bytes(cut.read_bytes()[:-40])
    empty.write_bytes(b"")
    for path in (cut, empty):
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
    probabilities, scored, _ = backlog.score()
    assert probabilities == EXPECTED
    assert EXPECTED.keys() - kept < set(scored) < EXPECTED.keys()


def test_a_record_that_is_cut_off_makes_all_be_scored_again(backlog: Backlog) -> None:
    backlog.stopped()
    (backlog.folder / "_tasks.json").write_text("")
    probabilities, scored, _ = backlog.score(tasks=3)
    assert (probabilities, sorted(scored)) == (EXPECTED, sorted(EXPECTED))
    assert (backlog.folder / "_tasks.json").read_text() == "3"


def test_scores_of_another_key_are_deleted_and_nothing_else(backlog: Backlog) -> None:
    backlog.stopped()
    own = backlog.folder.parent / "scores-of-mine" / "table.parquet"
    unmarked = backlog.folder.parent / f"scores-{'f' * 16}" / "table.parquet"
    for path in (own, unmarked):
        path.parent.mkdir()
        path.write_text("")
    probabilities, scored, _ = backlog.score(key="0" * 16)
    assert (probabilities, len(scored)) == (EXPECTED, CHUNKS)
    assert own.exists() and unmarked.exists() and not backlog.folder.exists()


def test_the_key_depends_on_all_that_decides_a_bit() -> None:
    made_of = {"model": "m", "precision": "fp32", "batch_tokens": None}
    measured = PrecisionProbe("torch fp32", 1.0, 0.0, 0, 0, "AVX2")
    key = scores_key(made_of, measured)
    assert len(key) == 16 and key == scores_key(made_of, replace(measured, load_seconds=9.0))
    others = [
        scores_key({**made_of, "precision": "bf16"}, measured),
        scores_key({**made_of, "batch_tokens": 512}, measured),
        scores_key(made_of, replace(measured, backend="torch bf16")),
        scores_key(made_of, replace(measured, machine="AVX512")),
    ]
    assert len({key, *others}) == 5
