"""A lock holds against the living and not against the dead."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files
from readmit_spark.storage.lock import SILENCE, Lock

pytestmark = pytest.mark.spark4

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def files(spark: SparkSession, tmp_path: Path) -> Files:
    return Files(spark, str(tmp_path))


def rewrite(tmp_path: Path, **changes: Any) -> None:
    (lock,) = (tmp_path / "_locks" / "job").glob("*.json")
    lock.write_text(json.dumps({**json.loads(lock.read_text()), **changes}))


def take(files: Files, at: datetime = NOON) -> Lock:
    return Lock(files, "job", lambda: at)


def test_of_many_who_try_at_once_one_gets_it(files: Files) -> None:
    got: list[Lock] = []
    refused: list[str] = []

    def attempt() -> None:
        try:
            got.append(take(files))
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    assert "since 2026-01-01T12:00:00" in refused[0]
    got[0].release()
    take(files).release()


def test_a_process_that_is_gone_holds_nothing(files: Files, tmp_path: Path) -> None:
    lock = take(files)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    rewrite(tmp_path, pid=gone.pid)
    take(files).release()
    with pytest.raises(RuntimeError, match="another took its place"):
        lock.check()
    lock.release()  # takes nothing from who came after
    take(files).release()


def test_a_process_that_got_the_number_of_a_dead_one_holds_nothing(
    files: Files, tmp_path: Path
) -> None:
    take(files)
    rewrite(tmp_path, process="1")
    take(files).release()


@pytest.mark.parametrize("silent", [timedelta(0), SILENCE - timedelta(seconds=1), SILENCE])
def test_another_host_holds_it_as_long_as_it_is_heard(
    files: Files, tmp_path: Path, silent: timedelta
) -> None:
    take(files)
    rewrite(tmp_path, host="elsewhere")
    if silent < SILENCE:
        with pytest.raises(UserError, match="on elsewhere"):
            take(files, NOON + silent)
    else:
        take(files, NOON + silent).release()


def test_it_says_that_it_lives(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.BEAT", timedelta(milliseconds=1))
    times = iter([NOON] * 3 + [NOON + timedelta(hours=1)] * 100_000)
    lock = Lock(files, "job", lambda: next(times))
    (at,) = (tmp_path / "_locks" / "job").glob("*.json")
    while json.loads(at.read_text())["beat"] != "2026-01-01T13:00:00+00:00":
        pass
    lock.check()
    lock.release()
    assert json.loads(at.read_text())["released"]


def test_a_beat_that_fails_is_not_the_last(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.BEAT", timedelta(milliseconds=1))
    beaten = threading.Event()
    faults = iter([OSError("503"), RuntimeError("cut")])

    def write(name: str, text: str) -> None:
        for fault in faults:
            raise fault
        beaten.set()

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", write)
        lock = take(files)
        assert beaten.wait(10)
        lock._done.set()
        lock._beating.join()
    lock.release()


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets this process's time zone."""

    def set_zone(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("holder", "taker"), [("Asia/Tokyo", "UTC"), ("UTC", "Asia/Tokyo")])
def test_hosts_of_two_zones_understand_each_other(
    files: Files, tmp_path: Path, clock_of: Any, holder: str, taker: str
) -> None:
    clock_of(holder)
    Lock(files, "job", datetime.now)  # as jobs pass it
    rewrite(tmp_path, host="elsewhere")
    clock_of(taker)
    with pytest.raises(UserError, match="on elsewhere"):
        Lock(files, "job", datetime.now)
    with pytest.raises(UserError, match="on elsewhere"):
        Lock(files, "job", lambda: datetime.now() + SILENCE - timedelta(seconds=30))
    Lock(files, "job", lambda: datetime.now() + SILENCE + timedelta(seconds=30)).release()


def test_a_lock_without_a_zone_is_of_this_hosts(files: Files, tmp_path: Path) -> None:
    local = NOON.astimezone().replace(tzinfo=None)
    take(files)
    rewrite(tmp_path, host="elsewhere", beat=local.isoformat())
    with pytest.raises(UserError, match="on elsewhere"):
        take(files)
    take(files, NOON + SILENCE).release()
