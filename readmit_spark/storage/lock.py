"""One run at a time of a job under one root; a run that died does not block the next."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError
from readmit_spark.storage.files import Files

BEAT = timedelta(seconds=30)  # how often a holder says that it lives
SILENCE = timedelta(minutes=5)  # after this long without a word, a holder on another host is dead


class Lock:
    """Held from construction to `release`, in `_locks/JOB/`.

    The lock is the object with the highest number there; it is taken by creating the next one,
    which only one of two can do. Its holder renews it every 30 seconds. It is free where it was
    released, where its process is gone from this host, or where it has been silent for 5 minutes.
    """

    def __init__(self, files: Files, job: str, now: Callable[[], datetime]) -> None:
        """UserError, naming the holder, where another run has it."""
        self._files = files
        self._folder = f"_locks/{job}"
        # In UTC: two hosts, or a host and a cluster, may have clocks of two zones.
        self._now = lambda: now().astimezone(UTC)
        holder = self._holder()
        if holder and _lives(holder, self._now()):
            raise _held(job, holder)
        number = holder["number"] + 1 if holder else 1
        self._mine = {
            "number": number,
            "token": secrets.token_hex(8),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _process(os.getpid()),
            "started": self._now().isoformat(timespec="seconds"),
            "beat": self._now().isoformat(timespec="seconds"),
            "released": False,
        }
        self._name = f"{self._folder}/{number:09d}.json"
        if not files.create_new(self._name, json.dumps(self._mine)):
            raise _held(job, self._holder() or self._mine)
        if holder:
            files.delete(f"{self._folder}/{holder['number']:09d}.json")
        self._done = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def check(self) -> None:
        """RuntimeError where another run took the lock: this one was held up for too long."""
        holder = self._holder()
        if not holder or holder["token"] != self._mine["token"]:
            raise RuntimeError(
                "this run was silent for so long that another took its place; it publishes nothing"
            )

    def release(self) -> None:
        self._done.set()
        self._beating.join()
        holder = self._holder()
        if holder and holder["token"] == self._mine["token"]:
            # Marked, not deleted: numbers must go on rising.
            self._files.write(self._name, json.dumps({**self._mine, "released": True}))

    def _holder(self) -> dict[str, Any] | None:
        names = [n for n in self._files.names(self._folder) if n.endswith(".json")]
        if not names:
            return None
        found: dict[str, Any] = json.loads(self._files.read(f"{self._folder}/{names[-1]}"))
        return found

    def _beat(self) -> None:
        while not self._done.wait(BEAT.total_seconds()):
            beat = self._now().isoformat(timespec="seconds")
            with suppress(Exception):  # the next beat makes up for one that S3 did not take
                self._files.write(self._name, json.dumps({**self._mine, "beat": beat}))


def _lives(holder: dict[str, Any], now: datetime) -> bool:
    if holder["released"]:
        return False
    if holder["host"] == socket.gethostname():
        return _runs(holder["pid"]) and holder["process"] == _process(holder["pid"])
    beat = datetime.fromisoformat(holder["beat"]).astimezone(UTC)  # one without a zone: this host's
    return now - beat < SILENCE


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _process(pid: int) -> str | None:
    """When the process began, as Linux counts: a number may be given to another process later."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else None


def _held(job: str, holder: dict[str, Any]) -> UserError:
    return UserError(
        f"another run of {job} holds output.root: process {holder['pid']} on {holder['host']}, "
        f"since {holder['started']}; wait for it, or end it"
    )
