"""A result is there whole or not at all, wherever a run dies."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.spark import publish
from readmit_spark.spark.publish import Files, Publication, manifest

OUTPUTS = ["cohort", "chunks", "metrics.json"]


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def staged(spark: SparkSession, root: Path, version: str, rows: int) -> Publication:
    publication = Publication(spark, str(root), "prepare", OUTPUTS, overwrite=True)
    frame = spark.range(rows, numPartitions=2).selectExpr("id", f"'{version}' AS version")
    publication.write_table(frame, "cohort")
    publication.write_table(frame.withColumn("window", frame.id % 2), "chunks", ["window"])
    (root.parent / "metrics.json").write_text(json.dumps(version))
    publication.put(root.parent / "metrics.json", "metrics.json")
    return publication


def state(spark: SparkSession, root: Path) -> set[Any]:
    """The versions that are to be seen: one, where the result is whole."""
    versions = {manifest(spark, str(root), "prepare")["version"]}
    for table in ("cohort", "chunks"):
        versions |= set(pq.read_table(root / table)["version"].to_pylist())
    return versions | {json.loads((root / "metrics.json").read_text())}


@pytest.fixture(scope="module")
def begun(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A root that holds the old result and the staged new one, and its publication."""
    root = tmp_path_factory.mktemp("publish") / "root"
    staged(spark, root, "old", 5).publish({"version": "old"})
    publication = staged(spark, root, "new", 3)
    shutil.copytree(root, root.parent / "saved")
    return root, publication


def dies_at(monkeypatch: pytest.MonkeyPatch, k: int) -> Callable[[], int]:
    """The k-th file operation from now (from 0) does not happen. Gives how many were tried."""
    tried = 0

    def dying(operation: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            nonlocal tried
            tried += 1
            if tried == k + 1:
                raise Killed
            operation(*arguments)

        return run

    for name in ("move", "write", "delete"):
        monkeypatch.setattr(Files, name, dying(getattr(Files, name)))
    return lambda: tried


@pytest.mark.parametrize("tidies_up", [False, True])
def test_a_run_that_dies_at_any_point_leaves_the_old_or_the_new_result(
    spark: SparkSession,
    begun: tuple[Path, Publication],
    monkeypatch: pytest.MonkeyPatch,
    tidies_up: bool,
) -> None:
    root, publication = begun
    seen = []
    for k in range(100):
        shutil.rmtree(root)
        shutil.copytree(root.parent / "saved", root)
        with monkeypatch.context() as patch:
            tried = dies_at(patch, k)
            with contextlib.suppress(Killed):
                publication.publish({"version": "new"})
            done = tried() <= k
        if tidies_up and not done:
            publication.abandon()  # as a job does where an exception comes its way
        (version,) = state(spark, root)
        seen.append(version)
        if version == "new":
            assert list((root / "_journal").glob("*.json")) == []
            assert list((root / "_staging").iterdir()) == []
        if done:
            break
    assert "old" in seen
    assert seen[-1] == "new"
    assert seen == sorted(seen, reverse=True)  # old up to a point, new from there on
    assert len(seen) > 10


def test_one_that_dies_while_the_next_run_finishes_it_is_finished_by_the_one_after(
    spark: SparkSession, begun: tuple[Path, Publication], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, publication = begun
    shutil.rmtree(root)
    shutil.copytree(root.parent / "saved", root)
    for k in (5, 3, 2, 1):
        with monkeypatch.context() as patch:
            dies_at(patch, k)
            with pytest.raises(Killed):
                if k == 5:
                    publication.publish({"version": "new"})
                else:
                    publish.finish(Files(spark, str(root)))
    assert state(spark, root) == {"new"}


def test_a_run_that_dies_before_the_end_has_changed_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    staged(spark, root, "old", 5).publish({"version": "old"})
    staged(spark, root, "new", 3)
    assert state(spark, root) == {"old"}
    staged(spark, root, "newer", 2).publish({"version": "newer"})
    assert state(spark, root) == {"newer"}


def test_an_output_that_is_there_is_refused_and_kept(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "root"
    staged(spark, root, "old", 5).publish({"version": "old"})
    with pytest.raises(UserError, match=r"has cohort, chunks, metrics\.json already") as error:
        Publication(spark, str(root), "prepare", OUTPUTS, overwrite=False)
    assert "output.overwrite=true" in str(error.value)
    assert state(spark, root) == {"old"}


def test_what_nobody_finished_is_no_obstacle_to_a_first_run(
    spark: SparkSession, tmp_path: Path
) -> None:
    staged(spark, tmp_path / "root", "new", 3)
    Publication(spark, str(tmp_path / "root"), "prepare", OUTPUTS, overwrite=False)


def test_an_abandoned_run_leaves_no_trace(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "root"
    staged(spark, root, "new", 3).abandon()
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_without_a_complete_result_the_job_to_run_is_named(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no complete result of prepare; run jobs/prepare\.py"):
        manifest(spark, str(tmp_path), "prepare")


@pytest.mark.parametrize("harm", ["missing", "cut", "added", "table"])
def test_a_file_that_is_gone_or_changed_is_noticed(
    spark: SparkSession, begun: tuple[Path, Publication], harm: str
) -> None:
    root, _ = begun
    shutil.rmtree(root)
    shutil.copytree(root.parent / "saved", root)
    assert manifest(spark, str(root), "prepare")["tables"]["chunks"]["rows"] == 5
    part = next((root / "chunks").rglob("*.parquet"))
    if harm == "missing":
        part.unlink()
    elif harm == "cut":
        part.write_bytes(part.read_bytes()[:-1])
    elif harm == "added":
        shutil.copy(part, part.with_name("part-more.parquet"))
    else:
        shutil.rmtree(root / "chunks")
    with pytest.raises(UserError, match=r"chunks is not what jobs/prepare\.py wrote"):
        manifest(spark, str(root), "prepare")


def test_a_table_without_rows_is_a_table(spark: SparkSession, tmp_path: Path) -> None:
    publication = Publication(spark, str(tmp_path), "prepare", ["chunks"], overwrite=False)
    frame = spark.range(0).withColumn("window", F.lit("2days"))
    assert publication.write_table(frame, "chunks", ["window"]).count() == 0
    publication.publish({})
    manifest(spark, str(tmp_path), "prepare")
    assert spark.read.parquet(f"{tmp_path}/chunks").columns == ["id", "window"]
