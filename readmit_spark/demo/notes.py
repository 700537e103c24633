"""Generate the notes of an admission: its findings in the words of doctors and nurses.

Most findings can be read only in context. A sentence names the finding and a decoy and swaps their
roles: "Reports chest pain, denies dyspnea" against "Denies chest pain, reports dyspnea". Both have
the same words, so that a model that counts words learns nothing from them. The number of notes and
of words does not depend on the findings: both forms of a sentence are equally long, and the notes
to write are drawn independently of the findings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from readmit_spark.demo.people import Admission, Person


@dataclass(frozen=True)
class Note:
    """One row of NOTEEVENTS without its ids; linked: the note has a HADM_ID."""

    chartdate: date
    charttime: datetime | None
    storetime: datetime | None
    category: str
    description: str
    text: str
    cgid: int | None
    error: bool = False
    linked: bool = True


# Finding: (sentences with the roles {risk} and {safe}, word for the finding, decoys). The finding
# has the role {risk} if it is present and {safe} if it is absent; the decoy has the other role.
_IN_CONTEXT: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "chest_pain": (
        ("Reports {risk}, denies {safe}.", "Denies {safe}, reports {risk}."),
        "chest pain",
        ("cough", "nausea", "dyspnea"),
    ),
    "heart_failure": (
        (
            "Current {risk}; history of {safe}, resolved.",
            "History of {safe}, resolved; current {risk}.",
        ),
        "heart failure",
        ("kidney stone", "lung infection"),
    ),
    "medications": (
        ("Takes {safe}, misses {risk}.", "Misses {risk}, takes {safe}."),
        "medications",
        ("meals", "walks"),
    ),
    "potassium": (
        ("{risk} rising, {safe} falling.", "{safe} falling, {risk} rising."),
        "potassium",
        ("sodium", "glucose"),
    ),
    "walking": (
        ("independent {safe}, needs help {risk}.",),
        "walking",
        ("bathing", "dressing"),
    ),
}
# Findings that single words reveal: (present, absent), equally long.
_IN_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "oxygen": (
        ("sat 90% on face mask", "sat 97% on room air"),
        ("needs 4 L oxygen", "needs no more oxygen"),
    ),
    "appetite": (
        ("Poor appetite, losing weight", "Good appetite, steady weight"),
        ("Albumin 2.1, eats little", "Albumin 4.1, eats well"),
    ),
}
_COMPLAINTS = ("weakness", "fever", "fall", "confusion", "infection")
_STABLE = ("Afebrile", "Alert", "Resting", "Skin intact", "Pt calm")
_XRAY = ("No pneumothorax", "Lines in place", "Clear lungs")
_ECG = ("Sinus rhythm, rate 84.", "Atrial fibrillation, rate 92.", "Sinus tachycardia, PVCs.")
_PLANS = ("Fluids", "Monitor", "Antibiotics", "PT consult")


def describe(name: str, present: bool, rng: np.random.Generator) -> str:
    """Return a sentence that says whether a finding is present; both kinds are equally long.

    >>> describe("potassium", True, np.random.default_rng(0))
    'Glucose falling, potassium rising.'
    """
    if name in _IN_WORDS:
        forms = _IN_WORDS[name]
        return forms[int(rng.integers(len(forms)))][0 if present else 1]
    templates, finding, decoys = _IN_CONTEXT[name]
    template = templates[int(rng.integers(len(templates)))]
    decoy = decoys[int(rng.integers(len(decoys)))]
    risk, safe = (finding, decoy) if present else (decoy, finding)
    sentence = template.format(risk=risk, safe=safe)
    return sentence[0].upper() + sentence[1:]


def write_notes(rng: np.random.Generator, person: Person, admission: Admission) -> list[Note]:
    """Generate the notes of an admission in order of time, sometimes with an outpatient note."""
    if person.newborn:
        return _newborn_notes(rng, person, admission)
    if rng.random() < 0.006:  # too few words for a chunk
        return [_note(rng, admission, 0, "Nursing", "Pt admitted, see paper chart.")]
    out = admission.out or admission.admitted + timedelta(days=4)
    nights = (out.date() - admission.admitted.date()).days
    notes: list[Note] = []
    if rng.random() < 0.25:
        notes.append(_outpatient(rng, admission))
    if rng.random() < 0.1:
        notes.append(
            _note(rng, admission, -1, "Nursing/other", "ED triage: arrived from [**Hospital 12**].")
        )
    text, assessment = _admission_text(rng, person, admission)
    notes.append(_note(rng, admission, 0, "Physician ", text, "Physician Resident Admission Note"))
    oxygen = describe("oxygen", admission.findings["oxygen"], rng)
    notes.append(_note(rng, admission, 0, "Nursing", f"{_choose(rng, _STABLE)}, {oxygen}."))
    if rng.random() < 0.3:
        rhythm = _choose(rng, _ECG)
        notes.append(Note(admission.admitted.date(), None, None, "ECG", "Report", rhythm, None))
    if rng.random() < 0.3:
        result = f"{_choose(rng, _XRAY)}. Dr. [**Last Name 7**]"
        report = f"CHEST (PORTABLE AP) [**{admission.admitted:%Y-%-m-%-d}**]\n{result}"
        notes.append(_note(rng, admission, 0, "Radiology", report, "CHEST (PORTABLE AP)"))
    # Later days have few notes, because they are outside the early windows.
    for day in range(1, min(nights, 6) + 1):
        notes += _day_notes(rng, admission, day, assessment)
    if rng.random() < 0.05:
        notes.append(_misfiled(rng, person, admission))
    if admission.out is not None:
        notes.append(_summary(rng, admission, admission.out, assessment))
    return notes


def _admission_text(
    rng: np.random.Generator, person: Person, admission: Admission
) -> tuple[str, str]:
    """Return the admission note, and its one-line assessment, which later notes repeat."""
    years = (admission.admitted - person.birth).days // 365
    assessment = describe("heart_failure", admission.findings["heart_failure"], rng)
    sentences = {
        n: describe(n, admission.findings[n], rng)
        for n in ("chest_pain", "medications", "potassium")
    }
    text = (
        f"Admission Date: [**{admission.admitted:%Y-%-m-%-d}**]\n"
        f"{years}{person.gender} w/ {_choose(rng, _COMPLAINTS)}. {sentences['chest_pain']}\n"
        f"PMH: {assessment}\n"
        f"Social: {sentences['medications']}\n"
        f"Labs: WBC {rng.uniform(4.2, 15.2):.1f}, {sentences['potassium']}\n"
        f"1. {_choose(rng, _PLANS)}  2. Labs"
    )
    return text, assessment


def _day_notes(
    rng: np.random.Generator, admission: Admission, day: int, assessment: str
) -> list[Note]:
    findings = admission.findings
    if day == 1:
        plan = f"HD 2. {assessment}\n1. {describe('chest_pain', findings['chest_pain'], rng)}"
        food = f"{describe('appetite', findings['appetite'], rng)}."
        return [
            _note(rng, admission, day, "Physician ", plan, "Physician Resident Progress Note"),
            _note(rng, admission, day, "Nutrition", food, "Clinical Nutrition Note"),
        ]
    if day == 2:
        walking = describe("walking", findings["walking"], rng)
        return [_note(rng, admission, day, "Rehab Services", f"PT: {walking}")]
    return [_note(rng, admission, day, "Nursing", f"{_choose(rng, _STABLE)}.")]


def _summary(
    rng: np.random.Generator, admission: Admission, out: datetime, assessment: str
) -> Note:
    end = "Pt expired in the MICU." if admission.died else "Discharged in stable condition."
    medications = describe("medications", admission.findings["medications"], rng)
    text = (
        f"Admission Date: [**{admission.admitted:%Y-%-m-%-d}**]   "
        f"Discharge Date: [**{out:%Y-%-m-%-d}**]\n\nService: MEDICINE\n\n"
        f'Brief Hospital Course: {assessment} Pt states "I feel ok".\n{medications}\n{end}\n\n'
        "Dictated By: [**First Name8 (NamePattern2) 1243**], M.D.\n----"
    )
    return Note(out.date(), None, None, "Discharge summary", "Report", text, None)


def _misfiled(rng: np.random.Generator, person: Person, admission: Admission) -> Note:
    """Return a note about another patient, marked as an error; it says the opposite throughout."""
    other = replace(
        admission, findings={name: not present for name, present in admission.findings.items()}
    )
    text, _ = _admission_text(rng, person, other)
    note = _note(rng, admission, 0, "Physician ", text, "Physician Resident Admission Note")
    return replace(note, error=True)


def _outpatient(rng: np.random.Generator, admission: Admission) -> Note:
    when = admission.admitted - timedelta(days=int(rng.integers(5, 60)))
    text = "MAMMO/CHEST PA, outpatient.\nNo change since [**Month 3**]; no acute process."
    return Note(when.date(), when, None, "Radiology", "CHEST (PA & LAT)", text, None, linked=False)


def _newborn_notes(rng: np.random.Generator, person: Person, admission: Admission) -> list[Note]:
    sex = "boy" if person.gender == "M" else "girl"
    weight = f"{rng.uniform(2.1, 4.2):.2f} kg"
    text = f"Neonatology\nTerm baby {sex} {weight}, Apgars 8, 9.\nFeeding well, no murmur."
    return [_note(rng, admission, 0, "Nursing/other", text, "Report")]


def _note(
    rng: np.random.Generator,
    admission: Admission,
    day: int,
    category: str,
    text: str,
    description: str = "Nursing Progress Note",
) -> Note:
    """Return a note charted on a day after admission (0: the same day) and stored minutes later."""
    midnight = datetime.combine(admission.admitted.date(), time()) + timedelta(days=day)
    start = max(midnight, admission.admitted) if day == 0 else midnight
    end = midnight + timedelta(days=1)
    minutes = int(
        ((min(end, admission.out) if admission.out else end) - start) / timedelta(minutes=1)
    )
    when = start + timedelta(minutes=int(rng.integers(0, max(minutes, 1))))
    stored = when + timedelta(minutes=int(rng.integers(1, 240)))
    return Note(
        when.date(), when, stored, category, description, text, int(rng.integers(14000, 21000))
    )


def _choose(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
