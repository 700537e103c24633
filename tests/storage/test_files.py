"""File operations on a local disk: with Python, and with Hadoop as on HDFS."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.files import Files, open_files
from readmit_spark.storage.hadoop_files import HadoopFiles
from readmit_spark.storage.local_files import LocalFiles

pytestmark = pytest.mark.spark4

ASIDE = "_work"


@pytest.fixture(params=["python", "hadoop"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "python":
        return LocalFiles(f"{tmp_path}/root")
    return HadoopFiles(request.getfixturevalue("spark"), f"{tmp_path}/root")


def test_a_file_is_written_read_replaced_and_deleted(files: Files) -> None:
    files.write("a/b.json", "old", ASIDE)
    files.write("a/b.json", "né", ASIDE)
    assert files.read("a/b.json") == "né"
    assert (files.names("a"), files.names(ASIDE)) == (["b.json"], [])
    files.delete("a")
    files.delete("a")
    assert not files.is_file("a/b.json")
    with pytest.raises(FileNotFoundError):
        files.read("a/b.json")


def test_a_new_file_is_created_once(files: Files) -> None:
    assert files.create_new("lock.json", "first")
    assert not files.create_new("lock.json", "second")
    assert files.read("lock.json") == "first"
    assert files.names("") == ["lock.json"]
    files.touch("empty")
    assert files.read("empty") == ""
    files.rewrite("lock.json", "third")
    assert files.read("lock.json") == "third"


def test_a_file_that_another_process_replaced_is_kept(files: Files) -> None:
    assert files.version("m.json") is None
    assert files.replace("m.json", "first", None, ASIDE)
    first = files.version("m.json")
    assert not files.replace("m.json", "second", None, ASIDE)
    assert files.replace("m.json", "third, longer", first, ASIDE)
    os.utime(Path(files.root) / "m.json", (0, 0))  # Hadoop's times have milliseconds
    assert not files.replace("m.json", "fourth", first, ASIDE)
    assert files.read("m.json") == "third, longer"
    assert files.names(ASIDE) == []


def test_the_age_of_a_file_is_that_of_the_disk(files: Files) -> None:
    assert files.age("locks/1.json") is None
    files.create_new("locks/1.json", "")
    age = files.age("locks/1.json")
    assert age is not None and abs(age) < timedelta(seconds=10)
    os.utime(Path(files.root) / "locks" / "1.json", (0, 0))
    age = files.age("locks/1.json")
    assert age is not None and age > timedelta(days=20_000)


def test_a_local_file_is_copied(files: Files, tmp_path: Path) -> None:
    (tmp_path / "a page.html").write_text("<p>")
    files.put(tmp_path / "a page.html", "run/page.html", ASIDE)
    assert files.read("run/page.html") == "<p>"
    assert files.names(ASIDE) == []


def test_sizes_are_of_data_files_and_names_of_all(files: Files) -> None:
    for name, text in {
        "w=1/part-0.parquet": "12345", "w=2/part-0.parquet": "1", "_SUCCESS": "",
        ".part.parquet": "x",
    }.items():  # fmt: skip
        files.write(f"table/{name}", text, ASIDE)
    assert files.sizes("table") == {"w=1/part-0.parquet": 5, "w=2/part-0.parquet": 1}
    assert files.names("table") == [".part.parquet", "_SUCCESS", "w=1", "w=2"]
    assert (files.names("none"), files.sizes("none")) == ([], {})


def test_of_a_link_only_the_link_is_deleted(tmp_path: Path) -> None:
    own = tmp_path / "own" / "file"
    own.parent.mkdir()
    own.write_text("own")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(own.parent)
    LocalFiles(f"{tmp_path}/root").delete("link")
    assert own.read_text() == "own"
    assert not (tmp_path / "root" / "link").is_symlink()


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave an empty file under the name."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        calls.append(f"rename to {new.name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    LocalFiles(f"{tmp_path}/root").write("a/m.json", "text", ASIDE)
    *folders, file, rename, folder = calls
    assert folders == ["sync root", f"sync {tmp_path.name}", "sync root"]  # _work, root, a
    assert file.startswith("sync m.json.") and file.endswith(".new")
    assert (rename, folder) == ("rename to m.json", "sync a")


def test_a_full_disk_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    files = LocalFiles(str(tmp_path))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.create_new("lock.json", "text")
    with pytest.raises(OSError, match="No space left"):
        files.write("m.json", "text", ASIDE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_root_is_opened_where_spark_would_read_it(spark: SparkSession, tmp_path: Path) -> None:
    for root in (f"{tmp_path}/a b%20#:ä", f"file://{tmp_path}/a", f"file:{tmp_path}/b"):
        files = open_files(spark, root)
        assert isinstance(files, LocalFiles)
        files.write("t.txt", "text", ASIDE)
        assert [row.value for row in spark.read.text(files.path("t.txt")).collect()] == ["text"]


def test_the_command_that_puts_a_file_back(spark: SparkSession, tmp_path: Path) -> None:
    local = LocalFiles(f"file://{tmp_path}", tmp_path / "a b")
    assert local.copy_command("x/_m", "_manifests/n/1.json") == (
        f"mkdir -p '{tmp_path}/a b/_manifests/n' && "
        f"cp '{tmp_path}/a b/x/_m' '{tmp_path}/a b/_manifests/n/1.json'"
    )
    hadoop = HadoopFiles(spark, f"{tmp_path}")
    assert hadoop.copy_command("x", "y") == f"hdfs dfs -cp {tmp_path}/x {tmp_path}/y"
