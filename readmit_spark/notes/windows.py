"""Which notes of an admission a prediction may read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from readmit_spark.errors import UserError


@dataclass(frozen=True)
class Window:
    """`days` = None is the discharge summary; else the notes of the first `days` days."""

    name: str
    days: int | None


def parse_window(name: str) -> Window:
    """`discharge`, or `Ndays` (N at least 1): notes with CHARTDATE - date(ADMITTIME) < N days.

    >>> parse_window("3days")
    Window(name='3days', days=3)
    """
    if name == "discharge":
        return Window(name, None)
    match = re.fullmatch(r"([1-9][0-9]{0,3})days", name)
    if match is None:
        raise UserError(f"unknown window {name!r}: one of 2days, 3days, any Ndays, or discharge")
    return Window(name, int(match.group(1)))
