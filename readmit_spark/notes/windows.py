"""Parse the name of a window: the notes of an admission that a prediction may read."""

from __future__ import annotations

from dataclasses import dataclass

from readmit_spark.config_types import DAYS_WINDOW
from readmit_spark.errors import UserError


@dataclass(frozen=True)
class Window:
    """days: the number of first days whose notes count; None means the discharge summary."""

    name: str
    days: int | None


def parse_window(name: str) -> Window:
    """Parse `discharge` or `Ndays`: the notes of the first N days of the stay (`note_rule.py`).

    N is at least 1. Raises UserError for another name.

    >>> parse_window("3days")
    Window(name='3days', days=3)
    """
    if name == "discharge":
        return Window(name, None)
    match = DAYS_WINDOW.fullmatch(name)
    if match is None:
        raise UserError(f"unknown window {name!r}: use 2days, 3days, any Ndays, or discharge")
    return Window(name, int(match.group(1)))
