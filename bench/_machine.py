"""Where a figure was taken: the machine, the packages, the commit. And where figures go."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
PACKAGES = ("pyspark", "pandas", "pyarrow", "numpy", "spacy", "tokenizers", "transformers", "torch")
GIB = 2**30


def describe() -> dict[str, Any]:
    """CPU, cores that this process may use, memory, versions, commit."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "load_before_1_minute": round(os.getloadavg()[0], 2),
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(name: str, machine: dict[str, Any], rows: dict[str, Any]) -> Path:
    """bench/results/NAME.json: the machine, then the figures."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, **rows}, indent=1) + "\n")
    return path


def keep_to_cores(cores: int) -> None:
    """This process, and what it starts from now on, runs on that many cores (Linux only): Java
    and Spark's local[*] count the cores they may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


class Watch:
    """What a process and all below it take while the block runs.

    Peak resident memory in GiB: `total` is the peak of the sum, `java` and `python` each their own
    peak. Pages that forked Python workers share are counted once a worker, so it is an upper bound.
    `cpu_seconds` is the time on a core, all processes added: unlike wall time it hardly moves when
    others use the machine.
    """

    def __init__(self, pid: int, interval: float = 0.2) -> None:
        self.total = self.java = self.python = 0.0
        self._pid, self._interval = pid, interval
        self._before = self._cpu = self._look()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        return sum(self._cpu.values()) - sum(self._before.values())

    def peak_gib(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 2) for name in ("total", "java", "python")}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._cpu = {**self._cpu, **self._look()}
        self._cpu = {**self._cpu, **self._look()}

    def _look(self) -> dict[int, float]:
        """Raises the peaks, and gives CPU seconds by process."""
        java = python = 0.0
        cpu = {}
        for process in self._tree():
            try:
                name, size = process.name(), process.memory_info().rss / GIB
                times = process.cpu_times()
            except psutil.Error:  # it ended between the two looks
                continue
            cpu[process.pid] = times.user + times.system
            java += size if name == "java" else 0
            python += size if name.startswith("python") else 0
        self.java, self.python = max(self.java, java), max(self.python, python)
        self.total = max(self.total, java + python)
        return cpu

    def _tree(self) -> list[psutil.Process]:
        try:
            top = psutil.Process(self._pid)
            return [top, *top.children(recursive=True)]
        except psutil.Error:
            return []


def workers(top: psutil.Process | None = None) -> list[psutil.Process]:
    """Spark's Python workers under a process (default: this one): forks of its daemon, with its
    command line."""
    found = []
    for process in (top or psutil.Process()).children(recursive=True):
        parent = process.parent()
        if parent and "pyspark.daemon" in parent.cmdline():
            found.append(process)
    return found


def peak_gib(pid: int) -> float:
    """The most that a process ever mapped at once (Linux only)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / GIB


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
