"""Small helpers to time calls, compare times and report progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

_Value = TypeVar("_Value")


def timed(call: Callable[[], _Value]) -> tuple[float, _Value]:
    """Return (seconds, result) of a call."""
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median over rounds of numerator / denominator, rounded to two digits."""
    pairs = zip(numerators, denominators, strict=True)
    return round(median(a / b for a, b in pairs), 2)


def say(text: str) -> None:
    """Print a progress line to stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
