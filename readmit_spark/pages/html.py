"""Jinja settings and text formats shared by all HTML pages."""

from __future__ import annotations

from base64 import b64encode

from jinja2 import Environment, PackageLoader, StrictUndefined

FEWEST_STAYS = 50  # a page shows no figure of fewer: "too few to say"


def page_environment() -> Environment:
    """Return Jinja's environment for the pages: all values are escaped, a missing one is an error.

    Template names are paths below the package, such as "evaluation/report.html.j2".
    """
    environment = Environment(
        loader=PackageLoader("readmit_spark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["few"] = is_few
    environment.filters |= {"number": number, "percent": percent, "picture": picture}
    return environment


def is_few(stays: int) -> bool:
    """Return whether a figure of so many stays is not shown."""
    return stays < FEWEST_STAYS


def number(value: float, digits: int = 3) -> str:
    """Format a number with a fixed number of decimals.

    >>> number(0.81264)
    '0.813'
    """
    return f"{value:.{digits}f}"


def percent(value: float, digits: int = 1) -> str:
    """Format a share (0 to 1) as a percentage, with a narrow space before the sign.

    >>> percent(0.1234)
    '12.3\\u202f%'
    """
    return f"{value:.{digits}%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")


def window_title(name: str) -> str:
    """Return a window's name for readers.

    >>> window_title("2days")
    'First 2 days'
    """
    if name == "discharge":
        return "Discharge summary"
    days = name.removesuffix("days")
    return "First day" if days == "1" else f"First {days} days"


def picture(png: bytes) -> str:
    """Return a PNG as a data URL, for the `src` of an image."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")
