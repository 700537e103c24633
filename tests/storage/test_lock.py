"""A lock stops other runs while its holder is alive, and not after the holder died."""

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
from readmit_spark.storage.lock import EXPIRY, Lock

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


def test_one_of_many_simultaneous_runs_gets_it(files: Files) -> None:
    taken: list[Lock] = []
    refused: list[str] = []

    def attempt() -> None:
        try:
            taken.append(take(files))
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert "started 2026-01-01T12:00:00" in refused[0]
    taken[0].release()
    take(files).release()


def test_a_lock_of_an_ended_process_is_free(files: Files, tmp_path: Path) -> None:
    lock = take(files)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    rewrite(tmp_path, pid=ended.pid)
    take(files).release()
    with pytest.raises(RuntimeError, match="another run took it"):
        lock.check()
    lock.release()  # does not release the lock of the run that took it
    take(files).release()


def test_a_lock_whose_process_id_was_given_to_another_process_is_free(
    files: Files, tmp_path: Path
) -> None:
    first = take(files)
    rewrite(tmp_path, process="1")
    second = take(files)
    second.check()
    with pytest.raises(RuntimeError, match="another run took it"):
        first.check()
    second.release()


@pytest.mark.parametrize("age", [timedelta(0), EXPIRY - timedelta(seconds=1), EXPIRY])
def test_a_lock_of_another_host_is_free_when_it_expires(
    files: Files, tmp_path: Path, age: timedelta
) -> None:
    take(files)
    rewrite(tmp_path, host="other")
    if age < EXPIRY:
        with pytest.raises(UserError, match="on other"):
            take(files, NOON + age)
    else:
        take(files, NOON + age).release()


def test_it_is_renewed(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.RENEWAL_INTERVAL", timedelta(milliseconds=1))
    times = iter([NOON] * 3 + [NOON + timedelta(hours=1)] * 100_000)
    lock = Lock(files, "job", lambda: next(times))
    (path,) = (tmp_path / "_locks" / "job").glob("*.json")
    while json.loads(path.read_text())["beat"] != "2026-01-01T13:00:00+00:00":
        pass
    lock.check()
    lock.release()
    assert json.loads(path.read_text())["released"]


def test_a_failed_renewal_is_repeated(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.RENEWAL_INTERVAL", timedelta(milliseconds=1))
    renewed = threading.Event()
    errors = iter([OSError("503"), RuntimeError("connection lost")])

    def write(name: str, text: str) -> None:
        for error in errors:
            raise error
        renewed.set()

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", write)
        lock = take(files)
        assert renewed.wait(10)
        lock._stopped.set()
        lock._renewer.join()
    lock.release()


@pytest.fixture
def set_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that sets the time zone of this process."""

    def set_zone(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("holder", "taker"), [("Asia/Tokyo", "UTC"), ("UTC", "Asia/Tokyo")])
def test_hosts_of_different_time_zones_respect_each_others_locks(
    files: Files, tmp_path: Path, set_time_zone: Any, holder: str, taker: str
) -> None:
    set_time_zone(holder)
    Lock(files, "job", datetime.now)  # the clock that jobs pass
    rewrite(tmp_path, host="other")
    set_time_zone(taker)
    with pytest.raises(UserError, match="on other"):
        Lock(files, "job", datetime.now)
    with pytest.raises(UserError, match="on other"):
        Lock(files, "job", lambda: datetime.now() + EXPIRY - timedelta(seconds=30))
    Lock(files, "job", lambda: datetime.now() + EXPIRY + timedelta(seconds=30)).release()


def test_a_time_without_a_zone_is_local(files: Files, tmp_path: Path) -> None:
    local = NOON.astimezone().replace(tzinfo=None)
    take(files)
    rewrite(tmp_path, host="other", beat=local.isoformat())
    with pytest.raises(UserError, match="on other"):
        take(files)
    take(files, NOON + EXPIRY).release()
