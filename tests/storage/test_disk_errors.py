"""A disk that is full or read-only ends a job with one line, and leaves the last result."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.storage.disk_errors import find_disk_failure
from tests.runs import start_run
from tests.storage.published import files_under

pytestmark = pytest.mark.spark4


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full: free space on it, or choose another folder, and run the job again",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/data/a"),
            "/data/a: the disk is read-only: mount it for writing, or choose another folder, and "
            "run the job again",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/a"),
            "/data/a: permission is denied: give this user permission, or choose another folder, "
            "and run the job again",
        ),
        (
            RuntimeError("java.io.FileNotFoundException: /data/a (Permission denied)\n\tat x"),
            "permission is denied: give this user permission, or choose another folder, and run "
            "the job again",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "/data/a"), None),
        (ValueError("full"), None),
    ],
    ids=str,
)
def test_the_disk_its_fault_and_what_to_do_are_named(error: Exception, line: str | None) -> None:
    assert find_disk_failure(error) == line


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine cannot mount a small disk: it needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # Java keeps failed files open


def outcome(
    spark: SparkSession, root: Path, frame: DataFrame, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[str]]:
    """Publish a table as a job does; return the exit code and the lines of the error output."""

    def main(config: Config) -> None:
        with start_run(spark, config, "prepare") as run:
            run.write_table(frame, "exclusions")
            run.publish({})

    values = {"output.root": root, "data.admissions": "none:/", "data.notes": "none:/"}
    given = [f"--set={key}={value}" for key, value in values.items()]
    code = cli.run("prepare", "", main, ["--config", os.devnull, *given])
    return code, capsys.readouterr().err.splitlines()


@pytest.fixture
def few(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([(1, "newborn")], "hadm_id long, reason string")


def test_a_full_disk_is_one_line_and_keeps_the_last_result(
    spark: SparkSession, disk: Path, few: DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """It becomes full while Spark writes a table, and is full before the job starts."""
    root = disk / "out"
    assert outcome(spark, root, few, capsys)[0] == 0
    before = files_under(root / "_manifests")
    many = spark.range(400_000).select("id", F.sha2(F.col("id").cast("string"), 256))
    line = (
        "prepare: the disk is full: free space on it, or choose another folder, and run the job "
        "again"
    )
    assert outcome(spark, root, many.toDF("hadm_id", "reason"), capsys) == (2, [line])
    rest = disk / "rest"
    rest.write_bytes(b"0" * os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize)
    assert outcome(spark, root, few, capsys) == (2, [line])
    rest.unlink()
    assert files_under(root / "_manifests") == before
    assert len(list((root / "prepare").iterdir())) == 1


def test_a_read_only_disk_is_one_line(
    spark: SparkSession, disk: Path, few: DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(spark, disk / "out", few, capsys)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, (line,) = outcome(spark, disk / "out", few, capsys)
    assert code == 2
    assert line.startswith(f"prepare: {disk}/out/_locks/prepare/000000002.json")
    assert ": the disk is read-only: mount it for writing, or choose another folder" in line
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert outcome(spark, disk / "out", few, capsys)[0] == 0
