"""A lock that allows one run of a job at a time under one root.

A run that died does not block the next one.
"""

from __future__ import annotations

import json
import os
import re
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
EXPIRY = timedelta(minutes=5)  # a holder of another machine or container counts as dead then

_FILE = re.compile(r"(?P<number>\d{9,})\.json(?P<incomplete>\.[0-9a-f]{8}\.new)?")
_SIZE = 1024  # of a lock's file, so that it can be written again in place


class Lock:
    """Held from construction to `release`; its files are in `_locks/JOB/`.

    The file with the highest number there is the lock; files with other names are ignored. A run
    takes it by creating the file with the next number, which only one of several runs can do. The
    holder writes its file again every 30 seconds.

    A lock is free if it was released, if its process no longer runs in this machine and container,
    or if it was not written for 5 minutes by the clock of the disk or of S3. The clocks of the
    machines do not matter, nor do their names: containers may share both.
    """

    def __init__(self, files: Files, job: str, now: Callable[[], datetime]) -> None:
        """Take the lock; raise a UserError that names the holder if another run holds it."""
        self._files = files
        self._folder = f"_locks/{job}"
        before = self._numbers()
        if before and self._is_held(before[-1]):
            raise self._held_error(job)
        number = before[-1] + 1 if before else 1
        self._content: dict[str, Any] = {
            "number": number,
            "token": secrets.token_hex(8),
            "host": socket.gethostname(),
            "system": _system(),
            "pid": os.getpid(),
            "process": _process_start(os.getpid()),
            "started": now().astimezone(UTC).isoformat(timespec="seconds"),
            "released": False,
        }
        self._name = self._file(number)
        if not files.create_new(self._name, self._text()):
            raise self._held_error(job)
        if not self._is_ours():  # others took it and deleted the next number, while this run waited
            files.delete(self._name)
            raise self._held_error(job)
        self._delete_others()
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
            self._content["released"] = True
            self._files.rewrite(self._name, self._text())

    def _text(self) -> str:
        return json.dumps(self._content).ljust(_SIZE)

    def _file(self, number: int) -> str:
        return f"{self._folder}/{number:09d}.json"

    def _numbers(self) -> list[int]:
        """Return the numbers of all lock files, the lock's own last."""
        matches = map(_FILE.fullmatch, self._files.names(self._folder))
        return sorted(int(m["number"]) for m in matches if m and not m["incomplete"])

    def _delete_others(self) -> None:
        """Delete earlier locks, and incomplete ones of runs that were killed or came too late."""
        for name in self._files.names(self._folder):
            match = _FILE.fullmatch(name)
            if match and (match["incomplete"] or int(match["number"]) < self._content["number"]):
                self._files.delete(f"{self._folder}/{name}")

    def _is_ours(self) -> bool:
        numbers = self._numbers()
        holder = self._read(numbers[-1]) if numbers else {}
        return holder.get("token") == self._content["token"]

    def _read(self, number: int) -> dict[str, Any]:
        """Return the content of a lock's file; {} if it is not readable or was just deleted."""
        if not self._files.is_file(self._file(number)):
            return {}
        try:
            content = json.loads(self._files.read(self._file(number)))
        except (ValueError, FileNotFoundError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_held(self, number: int) -> bool:
        holder = self._read(number)
        if holder.get("released") is True:
            return False
        alive = _is_running_here(holder)
        if alive is not None:
            return alive
        age = self._files.age(self._file(number))
        # A time in the future says that a clock was set back since, so nothing about the holder.
        return age is not None and -RENEWAL_INTERVAL < age < EXPIRY

    def _held_error(self, job: str) -> UserError:
        numbers = self._numbers()
        holder = self._read(numbers[-1]) if numbers else {}
        who = "; its lock is not readable"
        if {"pid", "host", "started"} <= holder.keys():
            who = f": process {holder['pid']} on {holder['host']}, started {holder['started']}"
        return UserError(
            f"another run of {job} holds output.root{who}; wait for it, or end it. A dead run's "
            f"lock is free {EXPIRY.seconds // 60} minutes after its last sign of life"
        )

    def _renew(self) -> None:
        while not self._stopped.wait(RENEWAL_INTERVAL.total_seconds()):
            with suppress(Exception):  # the next renewal replaces a failed one
                self._files.rewrite(self._name, self._text())


def _is_running_here(holder: dict[str, Any]) -> bool | None:
    """Return whether the holder's process runs; None if this process cannot know."""
    system, pid = holder.get("system"), holder.get("pid")
    if system is None or system != _system() or not isinstance(pid, int):
        return None
    start = _process_start(pid)
    if start is not None:
        return bool(start == holder.get("process"))  # process ids are used again
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return None  # it runs, but the system hides when it started


def _system() -> str | None:
    """Return what names the running system and its space of process ids; None except on Linux.

    Machines and containers may have equal host names, and an id means another process in each.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Return when a process started, on Linux; None without such a process, or if it is hidden.

    "ended" is the start of a process that ended and that its parent has not noticed yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return "ended" if state in "ZX" else fields[18]
