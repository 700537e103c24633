"""What the pages share: how templates are filled, and how figures and names read."""

from __future__ import annotations

from base64 import b64encode

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Jinja as the pages use it: all values are escaped, and a missing one is an error."""
    made = Environment(
        loader=PackageLoader("readmit_spark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "percent": percent, "picture": picture}
    return made


def number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}"


def percent(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}".replace("%", "\N{NARROW NO-BREAK SPACE}%")


def window_words(name: str) -> str:
    """A window's name in words: ``2days`` is "First 2 days"."""
    if name == "discharge":
        return "Discharge summary"
    days = name.removesuffix("days")
    return "First day" if days == "1" else f"First {days} days"


def picture(png: bytes) -> str:
    """PNG bytes as an address that a page can hold."""
    return "data:image/png;base64," + b64encode(png).decode("ascii")
