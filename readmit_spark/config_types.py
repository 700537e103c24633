"""The types of configuration keys: what may be written, and in which range.

They are strict: `true` and 2.0 are no whole numbers, and 7 is no text.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AllowInfNan, BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError


def _number_from_text(value: object) -> object:
    """Convert "2e-5" to 2e-5: YAML reads it as text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _text_from_date(value: object) -> object:
    """Convert a date back to text: YAML reads an unquoted 2101-02-26 as a date."""
    return value.isoformat() if isinstance(value, datetime.date) else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PydanticCustomError("zone", "a zone is needed, such as Europe/Amsterdam") from None
    return name


def _auto_or_day(value: str) -> str:
    try:
        return value if value == "auto" else datetime.date.fromisoformat(value).isoformat()
    except ValueError:
        raise PydanticCustomError("day", "auto or a date is needed, such as 2026-01-31") from None


def _day(value: str) -> str:
    try:
        return datetime.date.fromisoformat(value).isoformat()
    except ValueError:
        raise PydanticCustomError("day", "a date is needed, such as 2026-01-31") from None


def _known_format(name: str) -> str:
    if name not in FORMATS and not name.endswith((".yaml", ".yml")):
        raise PydanticCustomError(
            "format", f"one of {', '.join(FORMATS)}, or a mapping file (.yaml) is needed"
        )
    return name


def _list_like(example: str) -> Callable[[object], tuple[object, ...]]:
    """Return a validator that converts a list to a tuple and refuses empty lists."""

    def as_tuple(value: object) -> tuple[object, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise PydanticCustomError("list", f"a list is needed, such as {example}")
        return tuple(value)

    return as_tuple


def _window(name: str) -> str:
    if name != "discharge" and not DAYS_WINDOW.fullmatch(name):
        raise PydanticCustomError("window", "2days, 3days, any Ndays, or discharge is needed")
    return name


def _each_once(windows: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(windows)) < len(windows):
        raise PydanticCustomError(
            "repeated", "names a window more than once: {names}", {"names": ", ".join(windows)}
        )
    return windows


def _folded(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the codes in lower case with single blanks, as the tables' codes are compared."""
    return tuple(map(folded_code, codes))


def folded_code(code: str) -> str:
    """Return a code in lower case with single blanks."""
    return " ".join(code.split()).lower()


def _a_folder(root: str) -> str:
    root = os.path.expanduser(root)
    path = root if re.match(r"\w+:", root) else os.path.abspath(root)
    if re.fullmatch(r"\s*(\w+:)?[/\s]*", root) or path == "/":
        raise PydanticCustomError("folder", "a folder of its own is needed, such as /data/readmit")
    found = sorted(set(r"{}[]*?\\") & set(path))
    if found:
        raise PydanticCustomError(
            "folder",
            f"Spark reads {' '.join(found)} in its path as a pattern; choose another folder",
        )
    return root


FORMATS = ("mimic3", "mimic4", "fhir", "omop")

DAYS_WINDOW = re.compile(r"([1-9][0-9]{0,3})days")

LARGEST_INT = 2**31 - 1  # the largest whole number of Spark's int

Bool = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), BeforeValidator(_text_from_date)]
Day = Annotated[Text, AfterValidator(_day)]
KnownUntil = Annotated[Text, AfterValidator(_auto_or_day)]
FormatName = Annotated[Text, AfterValidator(_known_format)]
OwnFolder = Annotated[Text, AfterValidator(_a_folder)]
Zone = Annotated[Text, AfterValidator(_zone)]
PositiveInt = Annotated[int, Strict(), Field(gt=0, le=LARGEST_INT)]
NotNegativeInt = Annotated[int, Strict(), Field(ge=0, le=LARGEST_INT)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]  # the range that numpy and torch accept
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_list_like("[1, 2]"))]
Number = Annotated[float, Strict(), AllowInfNan(False), BeforeValidator(_number_from_text)]
PositiveNumber = Annotated[Number, Field(gt=0, le=1e9)]
NotNegativeNumber = Annotated[Number, Field(ge=0, le=1e9)]
Days = Annotated[Number, Field(gt=0, le=3650)]
VoteC = Annotated[PositiveNumber, Field(ge=1e-6)]
Share = Annotated[Number, Field(gt=0, lt=1)]
ShareOrZero = Annotated[Number, Field(ge=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_list_like("[nursing, physician]"))]
Window = Annotated[Text, AfterValidator(_window)]
Windows = Annotated[
    tuple[Window, ...], AfterValidator(_each_once), BeforeValidator(_list_like("[2days, 3days]"))
]
PositiveInts = Annotated[tuple[PositiveInt, ...], BeforeValidator(_list_like("[1, 2]"))]
PositiveNumbers = Annotated[tuple[PositiveNumber, ...], BeforeValidator(_list_like("[0.5, 1]"))]
VoteCs = Annotated[tuple[VoteC, ...], BeforeValidator(_list_like("[0.5, 1]"))]
CodeList = Annotated[
    tuple[Text, ...], AfterValidator(_folded), BeforeValidator(_list_like("[elective]"))
]
Dispositions = Annotated[
    tuple[Literal["acute", "against_advice", "hospice"], ...],
    BeforeValidator(_list_like("[acute, hospice]")),
]
Categories = Annotated[Texts, AfterValidator(_folded)]
