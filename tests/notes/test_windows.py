from __future__ import annotations

import pytest

from readmit_spark.errors import UserError
from readmit_spark.notes.windows import Window, parse_window


@pytest.mark.parametrize(
    ("name", "days"), [("2days", 2), ("3days", 3), ("14days", 14), ("discharge", None)]
)
def test_windows(name: str, days: int | None) -> None:
    assert parse_window(name) == Window(name, days)


@pytest.mark.parametrize("name", ["0days", "-1days", "days", "2 days", "2day", "Discharge", ""])
def test_an_unknown_window_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown window .*use 2days, 3days, any Ndays, or disch"):
        parse_window(name)
