"""What a person sees while a job runs: which step, how far, how long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_TICK = 10.0  # seconds between two lines within a step


class Progress:
    """Numbered, timed steps of a job, on stderr. `seconds` keeps each one's time for the record."""

    def __init__(self, job: str, steps: int, out: TextIO | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._job, self._steps, self._out = job, steps, out or sys.stderr

    def say(self, text: str) -> None:
        print(f"{self._job}: {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, name: str, how_far: Callable[[], str] | None = None) -> Iterator[None]:
        """One step; `how_far`, asked every ten seconds, says how far it is ("" for nothing)."""
        label = f"[{len(self.seconds) + 1}/{self._steps}] {name}"
        self.say(f"{label} ...")
        start = time.monotonic()
        done = threading.Event()
        ticker = threading.Thread(
            target=self._tick, args=(label, how_far, start, done), daemon=True
        )
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
        self.seconds[name] = round(time.monotonic() - start, 2)
        self.say(f"{label}: {self.seconds[name]:.1f} s")

    def _tick(
        self, label: str, how_far: Callable[[], str] | None, start: float, done: threading.Event
    ) -> None:
        while how_far is not None and not done.wait(_TICK):
            text = how_far()
            if text:
                self.say(f"{label} ... {text}, {time.monotonic() - start:.0f} s")
