"""A result is complete or absent, at whatever point a run dies; nothing else is ever deleted."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.storage.files import open_files
from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.lock import Lock
from readmit_spark.storage.publish import Publication, has_result, read_manifest
from readmit_spark.storage.run_folders import MARKER
from tests.storage.published import (
    begin,
    files_under,
    finish,
    manifest_of,
    page,
    publish,
    version_of,
    write_tables,
)

pytestmark = pytest.mark.spark4


class Killed(BaseException):
    """Stands for the death of the process: no code of the run catches it."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root without flushes to the disk, which take most of the time: a kill needs none."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return tmp_path / "root"


def end_lock_holder(root: Path) -> None:
    """Change the lock so that its holder no longer exists."""
    for lock in (root / "_locks").rglob("*.json"):
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "pid": 2**22 + 1}))


def runs(root: Path, name: str = "prepare") -> list[Path]:
    return sorted((root / name).iterdir())


def versions_kept(root: Path) -> list[int]:
    return sorted(int((run / "metrics.json").read_text()) for run in runs(root))


# --- a run that dies ------------------------------------------------------------------------------


def die_at(monkeypatch: pytest.MonkeyPatch, k: int) -> Callable[[], int]:
    """Make the k-th file operation from now (from 0) raise Killed. Return a count of operations."""
    tried = 0

    def dying(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal tried
            tried += 1
            if tried == k + 1:
                raise Killed
            return operation(*arguments)

        return run

    for name in ("put", "write", "delete", "replace", "sync", "rewrite"):
        monkeypatch.setattr(LocalFiles, name, dying(getattr(LocalFiles, name)))
    return lambda: tried


@pytest.mark.parametrize("closes", [False, True])
def test_a_run_that_dies_at_any_point_leaves_the_old_or_the_new_result(
    root: Path, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    versions = []
    for k in range(100):
        shutil.rmtree(root, ignore_errors=True)
        publish(root, 1)
        publish(root, 2)
        publication = begin(root)
        write_tables(publication, 3)
        with monkeypatch.context() as patch:
            tried = die_at(patch, k)
            with contextlib.suppress(Killed):
                finish(publication, 3)
            done = tried() <= k
        if closes and not done:
            publication.close()  # as a job does after an exception
        versions.append(version_of(root))
        if done:
            break
        end_lock_holder(root)
        publish(root, 4)
        assert version_of(root) == 4
    assert versions == sorted(versions)  # old up to a point, new from there on
    assert set(versions) == {2, 3}
    assert len(versions) >= 10
    assert (root / "metrics.json").read_text() == "3"
    # The previous run stays for its readers.
    assert versions_kept(root) == [2, 3]
    assert list((root / "_work" / "prepare").iterdir()) == []


def test_killed_processes_leave_a_complete_result_and_no_file(root: Path) -> None:
    """Real kills of real processes at random moments while they publish."""
    publish(root, 1)
    version, moved = 1, 0
    delays = random.Random(7)
    for kill in range(1, 41):
        pid = os.fork()
        if not pid:
            for published in range(1000 * kill, 1000 * kill + 999):
                publish(root, published)
            os._exit(0)
        time.sleep(delays.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        now = version_of(root)
        assert now >= version
        moved += now > version
        version = now
    assert moved > 10
    publish(root, 999_999)
    assert versions_kept(root) == [version, 999_999]
    assert list((root / "_work" / "prepare").iterdir()) == []
    assert [name for name in files_under(root) if name.endswith(".new")] == []
    assert len(list((root / "_locks" / "prepare").iterdir())) == 1


def test_a_run_that_dies_early_is_deleted_after_the_next_is_published(root: Path) -> None:
    publish(root, 1)
    dead = begin(root)
    write_tables(dead, 2)
    end_lock_holder(root)
    publication = begin(root)
    write_tables(publication, 3)
    assert version_of(root) == 1
    assert Path(dead.path).is_dir()
    finish(publication, 3)
    assert len(runs(root)) == 2
    assert not Path(dead.path).exists()


def test_an_unfinished_run_does_not_block_a_first_run(root: Path) -> None:
    write_tables(begin(root), 1)
    end_lock_holder(root)
    begin(root, overwrite=False).close()


def test_a_run_that_publishes_nothing_leaves_no_file(root: Path) -> None:
    publication = begin(root)
    write_tables(publication, 1)
    publication.close()
    publication.close()
    assert [name for name in files_under(root) if not name.startswith("_locks/")] == [".gitignore"]


def test_incomplete_copies_of_a_page_are_deleted_by_the_next_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = begin(root)
    write_tables(publication, 1)

    def die(old: Path, new: Path) -> None:
        raise Killed

    for name in ("_manifests/prepare.json", "metrics.json"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", die)
            patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
            with pytest.raises(Killed):
                publication._files.write(name, "patients", publication._temporary)
    assert sum(name.endswith(".new") for name in files_under(root)) == 2
    end_lock_holder(root)
    begin(root).close()
    assert not any(name.endswith(".new") for name in files_under(root))


# --- what is kept ---------------------------------------------------------------------------------

OWN_FILES = (
    "prepare/raw/NOTEEVENTS.csv",
    "prepare/README.txt",
    "prepare/20260101T000000-abcdef/own.csv",  # the name of a run, but no marker
    "prepare/20260101T000000-abcdef/chunks/part-0.parquet",
    "_work/prepare/own.txt",
    "_work/prepare/20260101T000000-abcdef/own.csv",
    "_work/notes.csv",
    "_manifests/README.txt",
    "_locks/prepare/README.txt",
)


def test_folders_of_the_user_that_are_named_like_a_job_keep_every_file(root: Path) -> None:
    for name in OWN_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    begin(root).close()
    for version in (1, 2, 3):
        publish(root, version)
    begin(root).close()
    kept = files_under(root)
    assert {name: kept.get(name) for name in OWN_FILES} == {n: n.encode() for n in OWN_FILES}
    assert version_of(root) == 3


def test_a_link_in_the_place_of_a_run_is_not_followed(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.csv").write_text("own")
    publish(root, 1)
    (root / "prepare" / "20200101T000000-abcdef").symlink_to(own)
    for version in (2, 3):
        publish(root, version)
    assert (own / "a.csv").read_text() == "own"


def test_only_the_current_and_the_previous_run_stay(root: Path) -> None:
    folders = [publish(root, version) for version in (1, 2, 3, 4)]
    assert [folder.exists() for folder in folders] == [False, False, True, True]


def test_results_of_an_earlier_version_are_replaced_and_deleted_in_turn(root: Path) -> None:
    """They have no marker and no copy of their manifest."""
    folders = [publish(root, version) for version in (1, 2)]
    for folder in folders:
        for file in folder.glob("_*.json"):
            file.unlink()
    begin(root).close()
    assert json.loads((folders[1] / "_manifest.json").read_text()) == manifest_of(root)
    folders.append(publish(root, 3))
    assert [folder.exists() for folder in folders] == [False, True, True]
    folders.append(publish(root, 4))
    assert [folder.exists() for folder in folders] == [False, False, True, True]


def test_what_cannot_be_deleted_is_deleted_by_a_later_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk keeps a file that is open elsewhere."""
    first = publish(root, 1)
    publish(root, 2)
    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "delete", lambda self, name: None)
        publish(root, 3)
    assert (first / MARKER).exists()
    publish(root, 4)
    assert not first.exists()


# --- a lost or damaged manifest -------------------------------------------------------------------


def test_a_lost_manifest_stops_the_job_with_the_command_that_puts_it_back(root: Path) -> None:
    publish(root, 1)
    publish(root, 2)
    before = files_under(root / "prepare")
    shutil.rmtree(root / "_manifests")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"_manifests/prepare\.json, .* is lost") as error:
            begin(root, overwrite=overwrite)
        assert files_under(root / "prepare") == before
    assert "\n" not in str(error.value)
    command = str(error.value).partition("put its copy back: ")[2].partition("; or")[0]
    subprocess.run(command, shell=True, check=True)
    assert version_of(root) == 2
    publish(root, 3)  # the refused runs hold no lock
    assert version_of(root) == 3


def test_the_manifest_that_is_put_back_is_the_last_one_whatever_the_clocks_were(root: Path) -> None:
    years = (2027, 2031, 2026)
    for version, year in enumerate(years):
        write_tables(
            publication := begin(root, now=lambda year=year: datetime(year, 1, 1)), version
        )
        finish(publication, version)
    last = manifest_of(root)["run"]
    (root / "_manifests" / "prepare.json").unlink()
    with pytest.raises(UserError, match=f"cp {root}/{last}/_manifest.json "):
        begin(root)


def test_a_damaged_copy_is_not_offered(root: Path) -> None:
    first, second = publish(root, 1), publish(root, 2)
    (second / "_manifest.json").write_text("{")
    (root / "_manifests" / "prepare.json").unlink()
    with pytest.raises(UserError, match=f"cp {first}/_manifest.json "):
        begin(root)


def test_after_a_lost_manifest_the_results_can_be_moved_away(root: Path) -> None:
    publish(root, 1)
    shutil.rmtree(root / "_manifests")
    (root / "prepare").rename(root / "before")
    publish(root, 2)
    assert version_of(root) == 2


DAMAGES = {
    "empty": b"",
    "zeros": b"\0" * 300,
    "cut": b'{"job": "prepare", "run": "prepare/2026',
    "no facts": b"{}",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe{}",
    "another program's": b'{"version": 3, "sources": []}',
    "run elsewhere": b'{"run": "../elsewhere", "tables": {}}',
    "run above": b'{"run": "prepare/..", "tables": {}}',
    "absolute run": b'{"run": "/prepare/1", "tables": {}}',
    "run of another job": b'{"run": "score/1", "tables": {}}',
    "run in a run": b'{"run": "prepare/1/chunks", "tables": {}}',
    "run of another type": b'{"run": 3, "tables": {}}',
    "tables": b'{"run": "prepare/1", "tables": {"cohort": 3}}',
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_one_line_and_can_be_restored_or_replaced(
    spark: SparkSession, root: Path, damage: str
) -> None:
    publish(root, 1)
    manifest = root / "_manifests" / "prepare.json"
    manifest.write_bytes(DAMAGES[damage])
    for call in (
        lambda: read_manifest(spark, str(root), "prepare"),
        lambda: has_result(spark, str(root), "prepare"),
        lambda: begin(root, overwrite=False),
    ):
        with pytest.raises(UserError) as error:
            call()
        line = str(error.value)
        assert f"{manifest} is not a manifest (" in line and "\n" not in line
        assert "or run jobs/prepare.py again with output.overwrite=true" in line
    subprocess.run(
        line.partition("its copy back: ")[2].partition("; or")[0], shell=True, check=True
    )
    assert version_of(root) == 1
    manifest.write_bytes(DAMAGES[damage])
    publish(root, 2)
    assert version_of(root) == 2
    assert len(runs(root)) == 2  # the run before the damage may still be read


def test_a_folder_in_the_place_of_a_manifest_is_no_manifest(root: Path) -> None:
    (root / "_manifests" / "prepare.json").mkdir(parents=True)
    begin(root).close()


# --- two runs -------------------------------------------------------------------------------------


def test_a_second_run_refuses_and_names_the_first(root: Path) -> None:
    first = begin(root)
    write_tables(first, 1)
    with pytest.raises(UserError, match=r"another run of prepare holds .*: process \d+ on"):
        begin(root)
    finish(first, 1)
    begin(root).close()
    assert version_of(root) == 1


def test_files_are_added_to_a_published_run_under_its_lock(root: Path) -> None:
    publication = begin(root)
    write_tables(publication, 1)
    publication.publish({"version": 1})
    assert version_of(root) == 1
    with pytest.raises(UserError, match="another run of prepare holds"):
        begin(root)
    publication.put(page(publication, 5), "report.html")
    publication.close()
    assert (Path(publication.path) / "report.html").read_text() == "5"
    begin(root).close()


def test_a_result_published_before_the_lock_was_taken_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, 1)
    publish(root, 2)

    def late(*arguments: Any) -> Lock:
        monkeypatch.undo()
        publish(root, 3)
        return Lock(*arguments)

    monkeypatch.setattr("readmit_spark.storage.publish.Lock", late)
    publication = begin(root)
    assert version_of(root) == 3
    publication.close()
    assert version_of(root) == 3


def test_a_result_that_another_run_published_meanwhile_is_kept(root: Path) -> None:
    """As on S3. The first run was stopped for so long that its lock was taken."""
    publication = begin(root)
    write_tables(publication, 1)
    end_lock_holder(root)
    publish(root, 2)
    publication._lock.check = lambda: None  # type: ignore[method-assign]
    with pytest.raises(UserError, match="another run published prepare"):
        publication.publish({"version": 1})
    publication.close()
    assert version_of(root) == 2


def test_an_existing_result_is_refused_and_kept(root: Path) -> None:
    publish(root, 1)
    with pytest.raises(UserError, match=r"has a result of prepare already; .*overwrite=true"):
        begin(root, overwrite=False)
    assert version_of(root) == 1
    begin(root).close()  # the refused run holds no lock


def test_a_start_that_fails_releases_the_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LocalFiles, name: str) -> str:
        raise OSError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "version", fail)
        with pytest.raises(OSError, match="read-only"):
            begin(root)
    begin(root).close()


def test_results_side_by_side_have_a_manifest_each(root: Path) -> None:
    for version, night in enumerate(("a", "b")):
        publish(root, version, f"nightly/{night}")
    for version, night in enumerate(("a", "b")):
        assert version_of(root, f"nightly/{night}") == version


# --- reading --------------------------------------------------------------------------------------


def test_without_a_complete_result_the_job_to_run_is_named(spark: SparkSession, root: Path) -> None:
    with pytest.raises(UserError, match=r"no complete result of prepare; run jobs/prepare\.py"):
        read_manifest(spark, str(root), "prepare")
    publish(root, 1)
    (root / "_manifests" / "prepare.json").unlink()
    with pytest.raises(UserError, match="is lost; put its copy back"):
        read_manifest(spark, str(root), "prepare")
    assert not has_result(spark, str(root), "prepare")


@pytest.mark.parametrize("damage", ["missing", "truncated", "added", "table", "not published"])
def test_a_missing_or_changed_file_is_an_error(
    spark: SparkSession, root: Path, damage: str
) -> None:
    table = publish(root, 5) / "chunks"
    assert read_manifest(spark, str(root), "prepare")["tables"]["chunks"]["rows"] == 5
    part = next(table.rglob("*.parquet"))
    if damage == "missing":
        part.unlink()
    elif damage == "truncated":
        part.write_bytes(b"")
    elif damage == "added":
        shutil.copy(part, part.with_name("part-more.parquet"))
    elif damage == "table":
        shutil.rmtree(table)
    names = ["none"] if damage == "not published" else None
    with pytest.raises(UserError, match=r" is not what jobs/prepare\.py wrote"):
        read_manifest(spark, str(root), "prepare", names)


def begin_with_spark(spark: SparkSession, root: Path, name: str = "prepare") -> Publication:
    return Publication(open_files(spark, str(root)), name, True, datetime.now)


def test_a_table_without_rows_keeps_its_columns(spark: SparkSession, root: Path) -> None:
    publication = begin_with_spark(spark, root)
    frame = spark.range(0).withColumn("window", F.lit("2days"))
    assert publication.write_table(frame, "chunks", ["window"]).count() == 0
    publication.publish({})
    publication.close()
    manifest = read_manifest(spark, str(root), "prepare")
    assert spark.read.parquet(f"{manifest['path']}/chunks").columns == ["id", "window"]


def test_temporary_tables_of_a_dead_run_are_deleted_by_the_next_run(
    spark: SparkSession, root: Path
) -> None:
    begin_with_spark(spark, root, "nightly/monday").write_temp(spark.range(2), "text")
    assert list(root.rglob("_work/*/*/text/*.parquet"))
    end_lock_holder(root)
    tuesday = begin_with_spark(spark, root, "nightly/tuesday")
    assert not list(root.rglob("_work/*/*/text"))
    tuesday.write_temp(spark.range(2), "text")
    tuesday.write_table(spark.range(3), "risk")
    tuesday.publish({})
    tuesday.close()
    assert not list(root.rglob("_work/*/*"))
