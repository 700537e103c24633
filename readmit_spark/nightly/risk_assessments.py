"""A night's list as FHIR R4 `RiskAssessment` resources, one line of NDJSON for each admission."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from readmit_spark.nightly.worklist_types import Id, Patient, Worklist
from readmit_spark.pages.html import number, percent

FILE = "risk_assessments.ndjson"


def risk_assessments(night: Worklist, zone: str, from_fhir: bool) -> str:
    """Render the resources in the order of the list. They hold no text of notes.

    zone: of the hospital's clock, because FHIR's times need an offset. from_fhir: whether the ids
    are those of FHIR resources, so that references can name them; otherwise they are identifiers.

    The id depends on the time, the admission and the model alone. So a night that is computed again
    replaces its resources on a server. https://hl7.org/fhir/R4/riskassessment.html
    """
    when = night.as_of.replace(tzinfo=ZoneInfo(zone)).isoformat()
    resources = (_resource(night, patient, when, from_fhir) for patient in night.patients)
    return "".join(json.dumps(resource, ensure_ascii=False) + "\n" for resource in resources)


def _resource(night: Worklist, patient: Patient, when: str, from_fhir: bool) -> dict[str, Any]:
    notes = dict.fromkeys(
        passage.row_id
        for driver in patient.drivers
        for passage in driver.passages
        if passage.row_id is not None
    )
    return {
        "resourceType": "RiskAssessment",
        "id": _id(night.as_of, patient.hadm_id, night.model),
        # A model that is not shown to rank better than chance is not in clinical use.
        "status": "preliminary" if night.doubts else "final",
        "method": {"text": f"{night.model}; notes: {night.window}"},
        "code": {"text": f"readmission within {night.horizon_days:g} days after discharge"},
        "subject": _reference("Patient", patient.subject_id, from_fhir),
        "encounter": _reference("Encounter", patient.hadm_id, from_fhir),
        "occurrenceDateTime": when,
        # A note may be a DocumentReference or a DiagnosticReport, so its type is not named.
        **({"basis": [{"identifier": {"value": str(row)}} for row in notes]} if notes else {}),
        "prediction": [_prediction(night, patient)],
        **({"note": [{"text": doubt} for doubt in night.doubts]} if night.doubts else {}),
    }


def _prediction(night: Worklist, patient: Patient) -> dict[str, Any]:
    """Return the prediction. `probabilityDecimal` is in percent (invariant ras-2: at most 100)."""
    place = f"rank {patient.rank} of {len(night.patients)}, score {number(patient.score)}"
    if patient.drivers:
        place += f", {percent(patient.drivers[0].share, 0)} of it from one chunk"
    prediction: dict[str, Any] = {
        "outcome": {"text": f"readmission within {night.horizon_days:g} days after discharge"}
    }
    if patient.risk is not None:
        prediction["probabilityDecimal"] = round(100 * patient.risk, 4)
    prediction["qualitativeRisk"] = {"text": "alert" if patient.alert else "no alert"}
    prediction["rationale"] = place
    return prediction


def _id(as_of: datetime, admission: Id, model: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"readmit-spark:{as_of.isoformat()}:{admission}:{model}"))


def _reference(kind: str, own: Id, from_fhir: bool) -> dict[str, Any]:
    if from_fhir:
        return {"reference": f"{kind}/{own}"}
    return {"type": kind, "identifier": {"value": str(own)}}
