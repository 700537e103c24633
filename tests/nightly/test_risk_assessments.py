"""The list as FHIR resources: ids that stay, a risk in percent, and no text of notes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from readmit_spark.nightly.risk_assessments import risk_assessments
from readmit_spark.nightly.worklist_types import Worklist
from tests.nights import night

NIGHT = night(5, seed=3)


def resources(shown: Worklist, from_fhir: bool = False) -> list[dict[str, Any]]:
    text = risk_assessments(shown, "Europe/Amsterdam", from_fhir)
    assert text.endswith("\n") and text.count("\n") == len(shown.patients)
    return [json.loads(line) for line in text.splitlines()]


def with_risk(risk: float) -> Worklist:
    first, *others = NIGHT.patients
    return replace(NIGHT, patients=(replace(first, risk=risk), *others))


def test_a_resource_names_patient_admission_time_and_rank() -> None:
    first = resources(NIGHT)[0]
    patient = NIGHT.patients[0]
    assert (first["resourceType"], first["status"]) == ("RiskAssessment", "final")
    assert first["subject"] == {"type": "Patient", "identifier": {"value": str(patient.subject_id)}}
    assert first["encounter"]["identifier"] == {"value": str(patient.hadm_id)}
    assert first["occurrenceDateTime"] == "2026-11-22T02:00:00+01:00"
    rows = [passage.row_id for driver in patient.drivers for passage in driver.passages]
    assert [one["identifier"]["value"] for one in first["basis"]] == [*map(str, rows)]
    (prediction,) = first["prediction"]
    assert prediction["rationale"].startswith(f"rank 1 of 5, score {patient.score:.3f}, ")
    assert prediction["qualitativeRisk"] == {"text": "alert" if patient.alert else "no alert"}


def test_ids_of_fhir_are_references() -> None:
    patient = replace(NIGHT.patients[0], subject_id="p-1", hadm_id="e.2", drivers=[])
    alone = replace(NIGHT, patients=[patient], alert=replace(NIGHT.alert, tonight=patient.alert))
    (first,) = resources(alone, from_fhir=True)
    assert first["subject"] == {"reference": "Patient/p-1"}
    assert first["encounter"] == {"reference": "Encounter/e.2"}
    assert "basis" not in first  # FHIR has no empty arrays


def test_a_probability_is_a_percentage_and_only_where_there_is_a_risk() -> None:
    first, second = resources(with_risk(0.23))[:2]
    assert first["prediction"][0]["probabilityDecimal"] == 23
    assert "probabilityDecimal" not in second["prediction"][0]


def test_ids_are_those_of_the_same_night_computed_again() -> None:
    ids = [one["id"] for one in resources(NIGHT)]
    assert ids == [one["id"] for one in resources(with_risk(0.5))]
    assert len(set(ids)) == 5
    tomorrow = replace(NIGHT, as_of=NIGHT.as_of + timedelta(days=1))
    for other in (tomorrow, replace(NIGHT, model="another")):
        assert not set(ids) & {one["id"] for one in resources(other)}


def test_doubts_make_it_preliminary_and_passages_stay_out() -> None:
    passages = [replace(p, text="SECRET") for p in NIGHT.patients[0].drivers[0].passages]
    driver = replace(NIGHT.patients[0].drivers[0], passages=passages)
    patient = replace(NIGHT.patients[0], drivers=[driver])
    doubted = replace(NIGHT, patients=(patient, *NIGHT.patients[1:]), doubts=["Never measured."])
    first = resources(doubted)[0]
    assert (first["status"], first["note"]) == ("preliminary", [{"text": "Never measured."}])
    assert "SECRET" not in str(first)
