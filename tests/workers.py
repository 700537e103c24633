"""Find the processes of Spark's Python workers."""

from __future__ import annotations

import psutil


def python_workers(driver: psutil.Process) -> list[psutil.Process]:
    """Return the running workers of a driver: forks of Spark's Python daemon."""
    return [process for process in driver.children(recursive=True) if _is_worker(process)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and "pyspark.daemon" in parent.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False
