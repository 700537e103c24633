"""A lock stops other runs while its holder is alive, and not for long after the holder died."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.lock import EXPIRY, Lock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(str(tmp_path))


def take(files: LocalFiles) -> Lock:
    return Lock(files, "job", lambda: NOON)


def lock_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "_locks" / "job").glob("*.json")
    return path


def rewrite(tmp_path: Path, **changes: Any) -> None:
    path = lock_file(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def make_older(path: Path, age: timedelta) -> None:
    """Set the time of a file back by `age`, or forward if it is negative."""
    time = path.stat().st_mtime - age.total_seconds()
    os.utime(path, (time, time))


def test_one_of_many_simultaneous_runs_gets_it(files: LocalFiles) -> None:
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
    taken[0].release()
    take(files).release()


def test_the_holder_is_named(files: LocalFiles) -> None:
    lock = take(files)
    with pytest.raises(UserError) as error:
        take(files)
    assert "another run of job holds output.root: process " in str(error.value)
    assert "started 2026-01-01T12:00:00+00:00" in str(error.value)
    lock.release()


def test_a_lock_of_an_ended_process_is_free(files: LocalFiles, tmp_path: Path) -> None:
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
    files: LocalFiles, tmp_path: Path
) -> None:
    first = take(files)
    rewrite(tmp_path, process="1")
    second = take(files)
    second.check()
    with pytest.raises(RuntimeError, match="another run took it"):
        first.check()
    second.release()


def test_a_killed_process_that_its_parent_has_not_noticed_holds_nothing(
    files: LocalFiles,
) -> None:
    pid = os.fork()
    if not pid:
        take(files)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    take(files).release()
    os.waitpid(pid, 0)


# In a container, or on another machine, an id means another process. `system` names both.
ELSEWHERE = {"system": "another boot pid:[4026531836]"}


@pytest.mark.parametrize(
    ("age", "is_free"),
    [
        (timedelta(0), False),
        (EXPIRY - 5 * SECOND, False),
        (EXPIRY + SECOND, True),
        (timedelta(days=-30), True),  # its disk's clock was 30 days ahead
        (-EXPIRY, True),
        (-5 * SECOND, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["a process here", "no process"])
def test_a_lock_from_elsewhere_counts_by_the_time_of_its_file(
    files: LocalFiles, tmp_path: Path, pid: int, age: timedelta, is_free: bool
) -> None:
    """With the host's own name, and a process id that here is no process or another one."""
    take(files)
    rewrite(tmp_path, pid=pid, **ELSEWHERE)
    make_older(lock_file(tmp_path), age)
    if is_free:
        take(files).release()
    else:
        with pytest.raises(UserError, match="another run of job"):
            take(files)


@pytest.mark.parametrize("clock", [timedelta(minutes=-6), timedelta(days=30)])
def test_the_holders_own_clock_does_not_matter(
    files: LocalFiles, tmp_path: Path, clock: timedelta
) -> None:
    Lock(files, "job", lambda: datetime.now() + clock)
    rewrite(tmp_path, **ELSEWHERE)
    with pytest.raises(UserError, match="another run of job"):
        take(files)
    make_older(lock_file(tmp_path), EXPIRY + SECOND)
    take(files).release()


@pytest.mark.parametrize("content", ["", "{", '{"number": 1}', "[]", "null", '"\\ud800"', "\xff"])
def test_a_lock_that_cannot_be_read_is_held_only_while_it_is_new(
    files: LocalFiles, tmp_path: Path, content: str
) -> None:
    take(files).release()
    path = lock_file(tmp_path)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="lock is free 5 minutes after"):
        take(files)
    make_older(path, EXPIRY + SECOND)
    take(files).release()
    assert lock_file(tmp_path).name == "000000002.json"


@pytest.mark.parametrize(
    "name", ["backup.json", "._000000001.json", ".nfs0001", "000000009 (1).json", "a.txt"]
)
def test_other_files_among_locks_are_ignored_and_kept(
    files: LocalFiles, tmp_path: Path, name: str
) -> None:
    stray = tmp_path / "_locks" / "job" / name
    stray.parent.mkdir(parents=True)
    stray.write_text("?")
    lock = take(files)
    with pytest.raises(UserError, match="process"):
        take(files)
    lock.check()
    lock.release()
    take(files).release()
    assert stray.read_text() == "?"


def test_what_killed_runs_left_is_deleted(files: LocalFiles, tmp_path: Path) -> None:
    folder = tmp_path / "_locks" / "job"
    folder.mkdir(parents=True)
    for name in ("000000004.json.84ae5a3b.new", "000000002.json"):
        (folder / name).write_text('{"released": true}')
    take(files).release()
    assert [path.name for path in folder.iterdir()] == ["000000003.json"]


def test_a_lock_of_an_earlier_version_counts_by_its_file(files: LocalFiles, tmp_path: Path) -> None:
    old = tmp_path / "_locks" / "job" / "000000007.json"
    old.parent.mkdir(parents=True)
    content = {"number": 7, "host": "h", "pid": 1, "process": "1", "beat": "2026-01-01T12:00:00"}
    old.write_text(json.dumps({**content, "started": "2026-01-01T12:00:00", "released": False}))
    with pytest.raises(UserError, match="process 1 on h"):
        take(files)
    make_older(old, EXPIRY)
    take(files).release()
    assert lock_file(tmp_path).name == "000000008.json"


def test_it_is_renewed(files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.RENEWAL_INTERVAL", timedelta(milliseconds=1))
    lock = take(files)
    path = lock_file(tmp_path)
    make_older(path, EXPIRY)
    before = path.stat().st_mtime
    while path.stat().st_mtime < before + EXPIRY.total_seconds() / 2:
        pass
    lock.check()
    lock.release()
    assert json.loads(path.read_text())["released"]


def test_a_failed_renewal_is_repeated(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readmit_spark.storage.lock.RENEWAL_INTERVAL", timedelta(milliseconds=1))
    renewed = threading.Event()
    errors = iter([OSError("503"), RuntimeError("connection lost")])

    def fail(name: str, text: str) -> None:
        for error in errors:
            raise error
        renewed.set()

    with monkeypatch.context() as patch:
        patch.setattr(files, "rewrite", fail)
        lock = take(files)
        assert renewed.wait(10)
        lock._stopped.set()
        lock._renewer.join()
    lock.release()


def test_a_run_that_was_stopped_for_long_does_not_write_to_the_lock_of_the_next(
    files: LocalFiles, tmp_path: Path
) -> None:
    first = take(files)
    rewrite(tmp_path, **ELSEWHERE)
    make_older(lock_file(tmp_path), EXPIRY)
    second = take(files)
    with pytest.raises(FileNotFoundError):
        files.rewrite(first._name, first._text())
    first.release()
    second.check()
    second.release()


def test_a_run_that_looked_long_ago_does_not_take_it(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saw the first lock free; since then others took and released locks 2 and 3."""
    for _ in range(2):
        take(files).release()
    holder = take(files)
    numbers = iter([[1]])
    now = Lock._numbers
    monkeypatch.setattr(Lock, "_numbers", lambda self: next(numbers, None) or now(self))
    with pytest.raises(UserError, match="another run of job"):
        take(files)
    holder.check()
    assert lock_file(tmp_path).name == "000000003.json"
    holder.release()


HOLDER = """
import sys
from datetime import datetime
from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.lock import Lock
Lock(LocalFiles(sys.argv[1]), "job", datetime.now)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock in a process namespace of its own, as in a container."""
    unshare = [shutil.which("unshare") or "", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not unshare[0] or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine cannot make a process namespace: it needs unshare and root")
    holder = subprocess.Popen(
        [*unshare, sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield holder
    holder.kill()
    holder.communicate()


def test_a_run_in_another_container_holds_it_until_it_dies(
    files: LocalFiles, tmp_path: Path, container: subprocess.Popen[str]
) -> None:
    assert container.stdout and container.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="process 1 on"):
        take(files)
    container.kill()
    container.wait()
    make_older(lock_file(tmp_path), EXPIRY)
    take(files).release()
