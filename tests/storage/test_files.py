"""File operations of Spark's connector on a local disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.files import Files

pytestmark = pytest.mark.spark4


@pytest.fixture
def files(spark: SparkSession, tmp_path: Path) -> Files:
    return Files(spark, f"{tmp_path}/root")


def test_a_file_is_written_read_replaced_and_deleted(files: Files, tmp_path: Path) -> None:
    files.write("a/b.json", "old")
    files.write("a/b.json", "new")
    assert files.read("a/b.json") == "new"
    assert [path.name for path in (tmp_path / "root" / "a").iterdir()] == ["b.json"]
    files.delete("a")
    files.delete("a")
    assert not files.exists("a/b.json")


def test_a_new_file_is_created_once(files: Files, tmp_path: Path) -> None:
    assert files.create_new("lock.json", "first")
    assert not files.create_new("lock.json", "second")
    assert files.read("lock.json") == "first"
    assert files.names("") == ["lock.json"]


def test_replace_on_a_disk_needs_no_version(files: Files) -> None:
    files.write("m.json", "old")
    assert files.version("m.json") is None
    assert files.replace("m.json", "new", None)
    assert files.read("m.json") == "new"


def test_a_local_file_is_copied(files: Files, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>")
    files.put(tmp_path / "page.html", "run/page.html")
    assert files.read("run/page.html") == "<p>"


def test_sizes_are_of_data_files_and_names_of_all(files: Files) -> None:
    files.write("table/w=1/part-0.parquet", "12345")
    files.write("table/w=2/part-0.parquet", "1")
    files.write("table/_SUCCESS", "")
    files.write("table/.part.parquet", "x")
    assert files.sizes("table") == {"w=1/part-0.parquet": 5, "w=2/part-0.parquet": 1}
    assert files.names("table") == [".part.parquet", "_SUCCESS", "w=1", "w=2"]
    assert files.names("none") == []
