"""Measure processes: run a job and record time and memory, and inspect Spark's Python workers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from bench.common.machine import GIB, ROOT


@dataclass(frozen=True)
class JobRun:
    """One finished job: wall time, CPU time of all its processes, and peak memory by language."""

    wall_seconds: float
    cpu_seconds: float
    peak_gib: dict[str, float]


def run_job(name: str, arguments: Sequence[str], settings: Sequence[str]) -> JobRun:
    """Run jobs/NAME.py in a process of its own, as a user does.

    settings: `key=value`, each passed with --set. Raises RuntimeError with the end of the job's
    output if it fails.
    """
    command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments]
    command += ["--config", str(ROOT / "conf" / "local.yaml")]
    for setting in settings:
        command += ["--set", setting]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        with ProcessWatch(process.pid) as watch:
            code = process.wait()
        seconds = time.monotonic() - start
        if code:
            log.seek(0)
            raise RuntimeError(f"jobs/{name}.py ended with {code}:\n{log.read()[-2000:]}")
    return JobRun(round(seconds, 1), round(watch.cpu_seconds, 1), watch.peak_gib())


class ProcessWatch:
    """Memory and CPU time of a process and all its children while the block runs.

    Memory is resident memory in GiB: `total` is the peak of the sum, `java` and `python` each
    have their own peak. Pages that forked Python workers share are counted once for each worker,
    so the figure is an upper bound. `cpu_seconds` adds up all processes. Unlike wall time it
    hardly changes when other programs use the machine.
    """

    def __init__(self, pid: int, interval: float = 0.2) -> None:
        self._peaks = dict.fromkeys(("total", "java", "python"), 0.0)
        self._pid, self._interval = pid, interval
        self._before = self._cpu = self._sample()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values()) - sum(self._before.values())

    def peak_gib(self) -> dict[str, float]:
        return {name: round(gib, 2) for name, gib in self._peaks.items()}

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._finished.wait(self._interval):
            self._cpu = {**self._cpu, **self._sample()}
        self._cpu = {**self._cpu, **self._sample()}

    def _sample(self) -> dict[int, float]:
        """Update the peaks and return CPU seconds by process id."""
        gib = {"java": 0.0, "python": 0.0}
        cpu = {}
        for process in self._tree():
            try:
                name, size = process.name(), process.memory_info().rss / GIB
                times = process.cpu_times()
            except psutil.Error:  # it ended meanwhile
                continue
            cpu[process.pid] = times.user + times.system
            for language in gib:
                gib[language] += size if name.startswith(language) else 0
        for language, size in {**gib, "total": sum(gib.values())}.items():
            self._peaks[language] = max(self._peaks[language], size)
        return cpu

    def _tree(self) -> list[psutil.Process]:
        try:
            top = psutil.Process(self._pid)
            return [top, *top.children(recursive=True)]
        except psutil.Error:
            return []


def python_workers(top: psutil.Process | None = None) -> list[psutil.Process]:
    """Return Spark's Python workers below a process (default: this one).

    Workers are forks of Spark's Python daemon and keep its command line.
    """
    workers = []
    for process in (top or psutil.Process()).children(recursive=True):
        parent = process.parent()
        if parent and "pyspark.daemon" in parent.cmdline():
            workers.append(process)
    return workers


def peak_gib(pid: int) -> float:
    """Return the largest resident memory that a process ever had, in GiB (Linux only)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / GIB
