"""Progress output of a job: which stage runs, how far it is and how long it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from readmit_spark.urls import without_secrets

_SECONDS_BETWEEN_LINES = 10.0  # within one stage


class Progress:
    """Print the numbered, timed stages of a job to stderr.

    `seconds` holds the duration of each finished stage; jobs store it in their manifest.
    """

    def __init__(self, job: str, stages: int, out: TextIO | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._job, self._stages, self._out = job, stages, out or sys.stderr

    def say(self, text: str) -> None:
        """Print one line, prefixed with the job's name and without passwords in URLs."""
        print(f"{self._job}: {without_secrets(text)}", file=self._out, flush=True)

    @contextmanager
    def stage(self, name: str, status: Callable[[], str] | None = None) -> Iterator[None]:
        """Number, print and time one stage.

        `status` is called every ten seconds and returns how far the stage is, such as
        "3/8 tasks"; an empty text prints nothing.
        """
        label = f"[{len(self.seconds) + 1}/{self._stages}] {name}"
        self.say(f"{label} ...")
        start = time.monotonic()
        ended = threading.Event()
        reporter = threading.Thread(
            target=self._report, args=(label, status, start, ended), daemon=True
        )
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join()
        self.seconds[name] = round(time.monotonic() - start, 2)
        self.say(f"{label}: {self.seconds[name]:.1f} s")

    def _report(
        self, label: str, status: Callable[[], str] | None, start: float, ended: threading.Event
    ) -> None:
        while status is not None and not ended.wait(_SECONDS_BETWEEN_LINES):
            text = status()
            if text:
                self.say(f"{label} ... {text}, {time.monotonic() - start:.0f} s")
