"""A night's content must be consistent."""

from __future__ import annotations

import pytest

from readmit_spark.nightly.worklist_types import Alert, Patient, Worklist
from tests.nights import AS_OF


def patient(rank: int, score: float, alert: bool) -> Patient:
    return Patient(
        rank=rank, subject_id=rank, hadm_id=100 + rank, day_of_stay=1, n_notes=2, n_chunks=3,
        score=score, previous_score=None, change="new", alert=alert, history=[(AS_OF, score)],
        drivers=[], new_notes=[],
    )  # fmt: skip


def night_of(patients: list[Patient], tonight: int) -> Worklist:
    alert = Alert("threshold", 0.6, 0.6, tonight, expected_a_night=None, effects=[], note="")
    return Worklist(
        as_of=AS_OF, previous=None, window="3days", model="readmission/1", patients=patients,
        left=[], unscored={}, alert=alert, outcomes=None, facts={}, seconds={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scores_and_alerts", "tonight"),
    [
        ([], 0),
        ([(0.9, True)], 1),
        ([(0.9, True), (0.7, True), (0.2, False)], 2),
    ],
)
def test_a_night_holds_its_alerts(
    scores_and_alerts: list[tuple[float, bool]], tonight: int
) -> None:
    patients = [patient(i, *pair) for i, pair in enumerate(scores_and_alerts, 1)]
    assert night_of(patients, tonight).alert.tonight == tonight


@pytest.mark.parametrize("tonight", [0, 2])
def test_a_wrong_number_of_alerts_is_an_error(tonight: int) -> None:
    with pytest.raises(ValueError, match=f"1 patients have an alert, but .*tonight is {tonight}"):
        night_of([patient(1, 0.9, True), patient(2, 0.2, False)], tonight)
