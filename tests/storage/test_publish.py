"""A result is complete or absent, at whatever point a run dies."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.lock import Lock
from readmit_spark.storage.publish import Publication, read_manifest

pytestmark = pytest.mark.spark4


class Killed(BaseException):
    """Stands for the death of the process: no code of the run catches it."""


def begin(spark: SparkSession, root: Path, overwrite: bool = True) -> Publication:
    return Publication(spark, str(root), "prepare", overwrite, datetime.now)


def write_tables(spark: SparkSession, root: Path, version: str, rows: int) -> Publication:
    publication = begin(spark, root)
    frame = spark.range(rows, numPartitions=2).selectExpr("id", f"'{version}' AS version")
    publication.write_table(frame, "cohort")
    publication.write_table(frame.withColumn("window", frame.id % 2), "chunks", ["window"])
    publication.put(page(root, version), "metrics.json")
    return publication


def page(root: Path, version: str) -> Path:
    """Write a local file of the run and return its path."""
    (root.parent / version).mkdir(parents=True, exist_ok=True)
    (root.parent / version / "metrics.json").write_text(json.dumps(version))
    return root.parent / version / "metrics.json"


def publish(publication: Publication, root: Path, version: str) -> None:
    publication.publish({"version": version}, root_copies=[page(root, version)])


def end_lock_holder(root: Path) -> None:
    """Change the lock so that its holder no longer exists."""
    for lock in (root / "_locks").rglob("*.json"):
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "pid": 2**22 + 1}))


def versions_of(spark: SparkSession, root: Path) -> set[Any]:
    """Return the versions in the current result: exactly one if it is consistent."""
    manifest = read_manifest(spark, str(root), "prepare")
    versions = {
        manifest["version"],
        json.loads((Path(manifest["path"]) / "metrics.json").read_text()),
    }
    for table in ("cohort", "chunks"):
        versions |= set(pq.read_table(f"{manifest['path']}/{table}")["version"].to_pylist())
    return versions


@pytest.fixture(scope="module")
def begun(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a root with an old result and a new one that is not published, and its publication."""
    root = tmp_path_factory.mktemp("publish") / "root"
    publish(write_tables(spark, root, "older", 4), root, "older")
    publish(write_tables(spark, root, "old", 5), root, "old")
    publication = write_tables(spark, root, "new", 3)
    shutil.copytree(root, root.parent / "saved")
    return root, publication


def die_at(monkeypatch: pytest.MonkeyPatch, k: int) -> Callable[[], int]:
    """Make the k-th file operation from now (from 0) raise Killed. Return a count of operations."""
    tried = 0

    def dying(operation: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            nonlocal tried
            tried += 1
            if tried == k + 1:
                raise Killed
            operation(*arguments)

        return run

    for name in ("put", "write", "delete"):
        monkeypatch.setattr(Files, name, dying(getattr(Files, name)))
    return lambda: tried


@pytest.mark.parametrize("abandons", [False, True])
def test_a_run_that_dies_at_any_point_leaves_the_old_or_the_new_result(
    spark: SparkSession,
    begun: tuple[Path, Publication],
    monkeypatch: pytest.MonkeyPatch,
    abandons: bool,
) -> None:
    root, publication = begun
    versions = []
    for k in range(100):
        shutil.rmtree(root)
        shutil.copytree(root.parent / "saved", root)
        with monkeypatch.context() as patch:
            tried = die_at(patch, k)
            with contextlib.suppress(Killed):
                publish(publication, root, "new")
            done = tried() <= k
        if abandons and not done:
            publication.abandon()  # as a job does after an exception
        (version,) = versions_of(spark, root)
        versions.append(version)
        if done:
            break
    assert "old" in versions
    assert versions[-1] == "new"
    assert versions == sorted(versions, reverse=True)  # old up to a point, new from there on
    assert len(versions) >= 5
    assert json.loads((root / "metrics.json").read_text()) == "new"
    runs = sorted(json.loads((run / "metrics.json").read_text()) for run in root.glob("prepare/*"))
    assert runs == ["new", "old"]  # the previous run stays for current readers


def test_a_run_that_dies_early_changes_nothing_and_is_deleted_by_the_next(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    publish(write_tables(spark, root, "old", 5), root, "old")
    write_tables(spark, root, "new", 3)
    assert versions_of(spark, root) == {"old"}
    end_lock_holder(root)
    assert len(list(root.glob("prepare/*"))) == 2
    publish(write_tables(spark, root, "newer", 2), root, "newer")
    assert versions_of(spark, root) == {"newer"}
    assert len(list(root.glob("prepare/*"))) == 2


def test_a_second_run_refuses_and_names_the_first(spark: SparkSession, tmp_path: Path) -> None:
    first = write_tables(spark, tmp_path / "root", "first", 3)
    with pytest.raises(UserError, match=r"another run of prepare holds .*: process \d+ on"):
        begin(spark, tmp_path / "root")
    publish(first, tmp_path / "root", "first")
    assert versions_of(spark, tmp_path / "root") == {"first"}
    begin(spark, tmp_path / "root").abandon()
    assert versions_of(spark, tmp_path / "root") == {"first"}


def test_a_result_published_before_the_lock_was_taken_is_kept(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    publish(write_tables(spark, root, "older", 4), root, "older")
    publish(write_tables(spark, root, "old", 5), root, "old")

    def late(*arguments: Any) -> Lock:
        monkeypatch.undo()
        publish(write_tables(spark, root, "new", 3), root, "new")
        return Lock(*arguments)

    monkeypatch.setattr("readmit_spark.storage.publish.Lock", late)
    publication = begin(spark, root)
    assert versions_of(spark, root) == {"new"}
    publication.abandon()
    assert versions_of(spark, root) == {"new"}


def test_an_existing_result_is_refused_and_kept(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "root"
    publish(write_tables(spark, root, "old", 5), root, "old")
    with pytest.raises(UserError, match=r"has a result of prepare already; .*overwrite=true"):
        begin(spark, root, overwrite=False)
    assert versions_of(spark, root) == {"old"}
    begin(spark, root).abandon()  # the refused run holds no lock


def test_an_unfinished_run_does_not_block_a_first_run(spark: SparkSession, tmp_path: Path) -> None:
    write_tables(spark, tmp_path / "root", "new", 3)
    end_lock_holder(tmp_path / "root")
    begin(spark, tmp_path / "root", overwrite=False).abandon()
    assert list(tmp_path.glob("root/prepare/*")) == []


def test_an_abandoned_run_leaves_no_trace(spark: SparkSession, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_tables(spark, root, "new", 3).abandon()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {path.parent.parent.name for path in files} == {"_locks"}


def test_results_side_by_side_have_a_manifest_each(spark: SparkSession, tmp_path: Path) -> None:
    for night in ("a", "b"):
        publication = Publication(spark, str(tmp_path), f"nightly/{night}", False, datetime.now)
        publication.write_table(spark.range(2), "risk")
        publication.publish({"night": night})
    for night in ("a", "b"):
        manifest = read_manifest(spark, str(tmp_path), f"nightly/{night}")
        rows = spark.read.parquet(f"{manifest['path']}/risk").count()
        assert (manifest["night"], rows) == (night, 2)


def test_without_a_complete_result_the_job_to_run_is_named(
    spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no complete result of prepare; run jobs/prepare\.py"):
        read_manifest(spark, str(tmp_path), "prepare")


@pytest.mark.parametrize("damage", ["missing", "truncated", "added", "table"])
def test_a_missing_or_changed_file_is_an_error(
    spark: SparkSession, begun: tuple[Path, Publication], damage: str
) -> None:
    root, _ = begun
    shutil.rmtree(root)
    shutil.copytree(root.parent / "saved", root)
    assert read_manifest(spark, str(root), "prepare")["tables"]["chunks"]["rows"] == 5
    table = Path(read_manifest(spark, str(root), "prepare")["path"]) / "chunks"
    part = next(table.rglob("*.parquet"))
    if damage == "missing":
        part.unlink()
    elif damage == "truncated":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "added":
        shutil.copy(part, part.with_name("part-more.parquet"))
    else:
        shutil.rmtree(table)
    with pytest.raises(UserError, match=r"chunks is not what jobs/prepare\.py wrote"):
        read_manifest(spark, str(root), "prepare")


def test_a_table_without_rows_keeps_its_columns(spark: SparkSession, tmp_path: Path) -> None:
    publication = begin(spark, tmp_path)
    frame = spark.range(0).withColumn("window", F.lit("2days"))
    assert publication.write_table(frame, "chunks", ["window"]).count() == 0
    publication.publish({})
    manifest = read_manifest(spark, str(tmp_path), "prepare")
    assert spark.read.parquet(f"{manifest['path']}/chunks").columns == ["id", "window"]


def test_temporary_tables_of_a_dead_run_are_deleted_by_the_next_run(
    spark: SparkSession, tmp_path: Path
) -> None:
    def part(name: str) -> Publication:
        return Publication(spark, str(tmp_path), f"nightly/{name}", True, datetime.now)

    part("monday").write_temp(spark.range(2), "text")
    assert list(tmp_path.rglob("_work/*/*/text/*.parquet"))
    end_lock_holder(tmp_path)
    tuesday = part("tuesday")
    assert not list(tmp_path.rglob("_work/*/*"))
    tuesday.write_temp(spark.range(2), "text")
    tuesday.write_table(spark.range(3), "risk")
    tuesday.publish({})
    assert not list(tmp_path.rglob("_work/*/*"))
    wednesday = part("wednesday")
    wednesday.write_temp(spark.range(2), "text")
    wednesday.abandon()
    assert not list(tmp_path.rglob("_work/*/*"))
