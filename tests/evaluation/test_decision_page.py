from __future__ import annotations

from readmit_spark.evaluation.decision_curve import decision_curve
from readmit_spark.evaluation.decision_page import decision_picture, decision_rows
from tests.evaluation.conftest import scored


def test_rows_are_right_alerts_for_1000_admissions() -> None:
    # Of four admissions one is alerted from 20 % on, and readmitted: 0.25, so 250 of 1,000.
    curve = decision_curve([0.9, 0.1, 0.1, 0.1], [1, 0, 0, 0], range(4), capacity_share=0.5)
    row = decision_rows(curve)[2]
    assert (row.risk, row.model) == (0.2, "+250.0")
    # Everybody: 0.25 - 0.75 / 4 = 0.0625. Two highest: the second is one of three equal scores.
    assert (row.everybody, row.capacity) == ("+62.5", "+187.5")
    assert row.gain == "+187.5 (too few to say)"


def test_without_admissions_there_is_a_picture_and_no_row() -> None:
    curve = decision_curve([], [], [], capacity_share=0.1)
    assert decision_rows(curve) == []
    assert decision_picture({"the score": curve}, title="x").startswith(b"\x89PNG")


def test_several_models_are_drawn() -> None:
    curve = decision_curve(*scored(), capacity_share=0.1)
    assert decision_picture({"a": curve, "b": curve}, title="x").startswith(b"\x89PNG")
