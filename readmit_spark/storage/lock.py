"""A lock that allows one run of a job at a time under one root.

A run that died does not block the next one.
"""

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

RENEWAL_INTERVAL = timedelta(seconds=30)
EXPIRY = timedelta(minutes=5)  # a holder on another host counts as dead after this time


class Lock:
    """Held from construction to `release`; its files are in `_locks/JOB/`.

    The file with the highest number there is the lock. A run takes it by creating the file with
    the next number, which only one of several runs can do. The holder renews its file every 30
    seconds. A lock is free if it was released, if its process no longer runs on this host, or if
    it was not renewed for 5 minutes.
    """

    def __init__(self, files: Files, job: str, now: Callable[[], datetime]) -> None:
        """Take the lock; raise a UserError that names the holder if another run holds it."""
        self._files = files
        self._folder = f"_locks/{job}"
        # UTC, because hosts may have clocks of different time zones.
        self._now = lambda: now().astimezone(UTC)
        holder = self._holder()
        if holder and _is_alive(holder, self._now()):
            raise _held_error(job, holder)
        number = holder["number"] + 1 if holder else 1
        self._content = {
            "number": number,
            "token": secrets.token_hex(8),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _process_start(os.getpid()),
            "started": self._now().isoformat(timespec="seconds"),
            "beat": self._now().isoformat(timespec="seconds"),
            "released": False,
        }
        self._name = f"{self._folder}/{number:09d}.json"
        if not files.create_new(self._name, json.dumps(self._content)):
            raise _held_error(job, self._holder() or self._content)
        if holder:
            files.delete(f"{self._folder}/{holder['number']:09d}.json")
        self._stopped = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)
        self._renewer.start()

    def check(self) -> None:
        """Raise a RuntimeError if another run took the lock because this one did not renew it."""
        if not self._is_ours():
            raise RuntimeError(
                "this run did not renew its lock for so long that another run took it; it "
                "publishes nothing"
            )

    def release(self) -> None:
        """Release the lock unless another run has taken it."""
        self._stopped.set()
        self._renewer.join()
        if self._is_ours():
            # Marked as released and not deleted, because the numbers must keep rising.
            self._files.write(self._name, json.dumps({**self._content, "released": True}))

    def _is_ours(self) -> bool:
        holder = self._holder()
        return holder is not None and holder["token"] == self._content["token"]

    def _holder(self) -> dict[str, Any] | None:
        names = [n for n in self._files.names(self._folder) if n.endswith(".json")]
        if not names:
            return None
        holder: dict[str, Any] = json.loads(self._files.read(f"{self._folder}/{names[-1]}"))
        return holder

    def _renew(self) -> None:
        while not self._stopped.wait(RENEWAL_INTERVAL.total_seconds()):
            beat = self._now().isoformat(timespec="seconds")
            with suppress(Exception):  # the next renewal replaces a failed one
                self._files.write(self._name, json.dumps({**self._content, "beat": beat}))


def _is_alive(holder: dict[str, Any], now: datetime) -> bool:
    if holder["released"]:
        return False
    if holder["host"] == socket.gethostname():
        return _is_running(holder["pid"]) and holder["process"] == _process_start(holder["pid"])
    renewed = datetime.fromisoformat(holder["beat"])  # without a zone: local time of this host
    return now - renewed.astimezone(UTC) < EXPIRY


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _process_start(pid: int) -> str | None:
    """Return the start time of a process on Linux, because process ids are used again."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else None


def _held_error(job: str, holder: dict[str, Any]) -> UserError:
    return UserError(
        f"another run of {job} holds output.root: process {holder['pid']} on {holder['host']}, "
        f"started {holder['started']}; wait for it, or end it"
    )
