"""Figures and PNG output of the pictures."""

from __future__ import annotations

from readmit_spark.pages.canvas import new_figure, new_unit_square, png_bytes


def test_a_figure_has_title_and_labels() -> None:
    _, axes = new_figure("Risk", "Day", "Score")
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == (
        "Risk", "Day", "Score",
    )  # fmt: skip


def test_a_unit_square_goes_from_0_to_1() -> None:
    _, axes = new_unit_square("ROC", "x", "y")
    assert axes.get_xlim() == (0, 1)
    assert axes.get_aspect() == 1


def test_a_figure_is_drawn_as_png() -> None:
    figure, _ = new_figure("Risk", "Day", "Score")
    assert png_bytes(figure).startswith(b"\x89PNG\r\n")
