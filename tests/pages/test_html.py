"""Text formats and templates of the pages."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from readmit_spark.pages.html import number, page_environment, percent, picture, window_title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("1days", "First day"),
        ("2days", "First 2 days"),
        ("3days", "First 3 days"),
        ("discharge", "Discharge summary"),
    ],
)
def test_a_window_has_a_title(name: str, title: str) -> None:
    assert window_title(name) == title


def test_numbers_and_shares_have_fixed_decimals() -> None:
    assert (number(0.81264), number(2, 1)) == ("0.813", "2.0")
    assert (percent(0.1234), percent(1, 0)) == ("12.3\u202f%", "100\u202f%")


def test_a_picture_is_a_data_url() -> None:
    assert picture(b"\x89PNG") == "data:image/png;base64,iVBORw=="


def test_values_are_escaped_and_a_missing_one_is_an_error() -> None:
    environment = page_environment()
    assert environment.from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ text }}").render()


def test_pairs_are_a_table_or_a_sentence() -> None:
    pairs = page_environment().get_template("pages/pairs.html.j2").module.pairs  # type: ignore[attr-defined]
    table = pairs({"no_notes": 1200}, "Reason", "Patients", "None.", 0)
    assert '<th scope="row">no notes</th><td>1,200</td>' in table
    assert pairs({}, "Reason", "Patients", "None.").strip() == "<p>None.</p>"
