"""Rewrite times as MIMIC-III writes them: 2101-02-26 02:00:00, on the hospital's wall clock.

Nothing is parsed that could fail: what has another form stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

_WITH_OFFSET = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})$"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Letters of a pattern -> what they match.
_LETTERS = {
    "yyyy": r"(\d{4})",
    "MMM": r"([A-Za-z]{3})",
    "MM": r"(\d{2})",
    "M": r"(\d{1,2})",
    "dd": r"(\d{2})",
    "d": r"(\d{1,2})",
    "HH": r"(\d{2})",
    "H": r"(\d{1,2})",
    "hh": r"(\d{2})",
    "h": r"(\d{1,2})",
    "mm": r"(\d{2})",
    "ss": r"(\d{2})",
    "SSS": r"(\d{1,9})",
    "a": r"([AaPp][Mm])",
}
_TOKENS = re.compile(r"'([^']*)'|([A-Za-z])\2*|[^A-Za-z']")


def check_pattern(pattern: str) -> None:
    """Raise a ValueError unless the pattern is made of `_LETTERS` and names a day."""
    groups = {letters[0] for letters in _tokens(pattern)[1]}
    if not {"y", "M", "d"} <= groups or ("h" in groups) != ("a" in groups):
        raise ValueError("a pattern needs year, month and day, and an hour h needs a")


def rewritten(time: Column, patterns: Sequence[str], zone: str | None) -> Column:
    """Rewrite times of these patterns, and with `zone` ISO 8601 with an offset."""
    text = F.btrim(time)
    for pattern in patterns:
        regex, _ = _tokens(pattern)
        time = F.when(text.rlike(f"^{regex}$"), _iso(text, pattern)).otherwise(time)
    return wall_clock(time, zone) if zone else time


def wall_clock(time: Column, zone: str) -> Column:
    """Rewrite ISO 8601 with an offset as the time on the wall clock of `zone`."""
    instant = F.try_to_timestamp(F.when(time.rlike(_WITH_OFFSET), time))
    clock = F.date_format(F.from_utc_timestamp(instant, zone), "yyyy-MM-dd HH:mm:ss.SSSSSS")
    return F.coalesce(clock, time)


def _tokens(pattern: str) -> tuple[str, list[str]]:
    """Return a regular expression with a group for each kind of letters, and these in order."""
    regex, groups, end = "", [], 0
    for token in _TOKENS.finditer(pattern):
        if token.start() != end:
            break
        end = token.end()
        if token[0] in _LETTERS:
            groups.append(token[0])
            regex += _LETTERS[token[0]]
        elif token[2] is not None:
            raise ValueError(f"{token[0]} is not one of {', '.join(_LETTERS)}")
        else:
            regex += re.escape(token[1] if token[1] is not None else token[0])
    if end != len(pattern):
        raise ValueError("a quote is not closed")
    return regex, groups


def _iso(text: Column, pattern: str) -> Column:
    regex, letters = _tokens(pattern)
    found = {
        name[0]: F.regexp_extract(text, f"^{regex}$", i) for i, name in enumerate(letters, start=1)
    }
    month = _month(found["M"]) if "MMM" in letters else two_digits(found["M"])
    day = F.concat_ws("-", found["y"], month, two_digits(found["d"]))
    if "H" not in found and "h" not in found:
        return day
    hour = two_digits(found["H"]) if "H" in found else _hour(found["h"], found["a"])
    clock = F.concat_ws(":", hour, found.get("m", F.lit("00")), found.get("s", F.lit("00")))
    if "S" in found:
        clock = F.concat_ws(".", clock, found["S"])
    return F.concat_ws(" ", day, clock)


def two_digits(digits: Column) -> Column:
    """Write a month, day or hour with two digits."""
    return F.lpad(digits, 2, "0")


def _month(name: Column) -> Column:
    """Return the number of a month's name; 00, which no time has, of another word."""
    number = F.when(F.lit(False), "")
    for i, month in enumerate(_MONTHS, start=1):
        number = number.when(F.lower(name) == month, f"{i:02}")
    return number.otherwise("00")


def _hour(hour: Column, half: Column) -> Column:
    """Return the hour of 24; 12 AM is 00. More than 12 stays, and no time has it."""
    after_noon = F.lower(half) == "pm"
    number = F.when(hour.rlike("[0-9]"), hour).cast("int")
    of_24 = F.pmod(number, F.lit(12)) + F.when(after_noon, 12).otherwise(0)
    return F.when(number <= 12, two_digits(of_24.cast("string"))).otherwise("99")
