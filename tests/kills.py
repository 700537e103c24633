"""Start a job as a program, and kill it with SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

import psutil

from readmit_spark.storage.java import java_home
from tests.spark_options import ROOT, submit_arguments


def start_job(
    program: Sequence[str], settings: Iterable[str], spark: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start Python with these arguments in a process group of its own, whose output is piped.

    settings: of --set. spark: Spark settings.
    """
    command = [sys.executable, *program]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "JAVA_HOME": str(java_home(os.environ)),
            "PYSPARK_SUBMIT_ARGS": submit_arguments(spark),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_line(running: subprocess.Popen[str], text: str) -> bool:
    """Wait until a line with `text` is printed; return False if the job ended before."""
    assert running.stdout is not None
    return any(text in line for line in running.stdout)


def kill(running: subprocess.Popen[str], java_too: bool) -> None:
    """Send SIGKILL to Python alone, which orphans its Java, or to all of the driver."""
    if java_too:
        os.killpg(running.pid, signal.SIGKILL)
    else:
        running.kill()
    running.wait()
    group = [p for p in psutil.process_iter() if _group(p) == running.pid]
    psutil.wait_procs(group, timeout=60)  # an orphaned Java ends by itself


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None
