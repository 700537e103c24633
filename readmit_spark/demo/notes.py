"""The notes of a stay: what its findings look like in the words of doctors and nurses.

Most findings are told in context. A sentence names the finding and a decoy and swaps their roles:
"Reports chest pain, denies dyspnea" against "Denies chest pain, reports dyspnea". Both hold the
same words, so counting words learns nothing from them. The number of notes and of words never
depends on the findings: both forms of a sentence are equally long, and which notes are written is
drawn without looking at them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from readmit_spark.demo.people import Person, Stay


@dataclass(frozen=True)
class Note:
    """One row of NOTEEVENTS, without its ids. `linked` is False for a note without HADM_ID."""

    chartdate: date
    charttime: datetime | None
    storetime: datetime | None
    category: str
    description: str
    text: str
    cgid: int | None
    error: bool = False
    linked: bool = True


# Sentences with the roles {risk} and {safe}; the finding takes {risk} where it is present and
# {safe} where it is not, and the decoy takes the other.
_SWAPPED: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
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
# Findings that words alone tell: (present, absent), equally long.
_PLAIN: dict[str, tuple[tuple[str, str], ...]] = {
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


def tell(name: str, present: bool, rng: np.random.Generator) -> str:
    """A sentence that says whether the finding is there; its length does not depend on that.

    >>> tell("potassium", True, np.random.default_rng(0))
    'Glucose falling, potassium rising.'
    """
    if name in _PLAIN:
        forms = _PLAIN[name]
        return forms[int(rng.integers(len(forms)))][0 if present else 1]
    templates, finding, decoys = _SWAPPED[name]
    template = templates[int(rng.integers(len(templates)))]
    decoy = decoys[int(rng.integers(len(decoys)))]
    risk, safe = (finding, decoy) if present else (decoy, finding)
    sentence = template.format(risk=risk, safe=safe)
    return sentence[0].upper() + sentence[1:]


def write_notes(rng: np.random.Generator, person: Person, stay: Stay) -> list[Note]:
    """The notes of a stay, in the order they were written, and now and then an outpatient one."""
    if person.newborn:
        return _newborn_notes(rng, person, stay)
    if rng.random() < 0.006:  # a document of ten words or fewer, which no model can read
        return [_note(rng, stay, 0, "Nursing", "Pt admitted, see paper chart.")]
    out = stay.out or stay.admitted + timedelta(days=4)
    nights = (out.date() - stay.admitted.date()).days
    notes: list[Note] = []
    if rng.random() < 0.25:
        notes.append(_outpatient(rng, stay))
    if rng.random() < 0.1:
        notes.append(
            _note(rng, stay, -1, "Nursing/other", "ED triage: arrived from [**Hospital 12**].")
        )
    admission, assessment = _admission_text(rng, person, stay)
    notes.append(_note(rng, stay, 0, "Physician ", admission, "Physician Resident Admission Note"))
    oxygen = tell("oxygen", stay.findings["oxygen"], rng)
    notes.append(_note(rng, stay, 0, "Nursing", f"{_one(rng, _STABLE)}, {oxygen}."))
    if rng.random() < 0.3:
        rhythm = _one(rng, _ECG)
        notes.append(Note(stay.admitted.date(), None, None, "ECG", "Report", rhythm, None))
    if rng.random() < 0.3:
        seen = f"{_one(rng, _XRAY)}. Dr. [**Last Name 7**]"
        view = f"CHEST (PORTABLE AP) [**{stay.admitted:%Y-%-m-%-d}**]\n{seen}"
        notes.append(_note(rng, stay, 0, "Radiology", view, "CHEST (PORTABLE AP)"))
    # Later days are written sparsely: they lie outside the early windows.
    for day in range(1, min(nights, 6) + 1):
        notes += _day_notes(rng, stay, day, assessment)
    if rng.random() < 0.05:
        notes.append(_misfiled(rng, person, stay))
    if stay.out is not None:
        notes.append(_summary(rng, stay, stay.out, assessment))
    return notes


def _admission_text(rng: np.random.Generator, person: Person, stay: Stay) -> tuple[str, str]:
    """The admission note, and its one-line assessment, which later notes copy forward."""
    years = (stay.admitted - person.birth).days // 365
    assessment = tell("heart_failure", stay.findings["heart_failure"], rng)
    told = {n: tell(n, stay.findings[n], rng) for n in ("chest_pain", "medications", "potassium")}
    text = (
        f"Admission Date: [**{stay.admitted:%Y-%-m-%-d}**]\n"
        f"{years}{person.gender} w/ {_one(rng, _COMPLAINTS)}. {told['chest_pain']}\n"
        f"PMH: {assessment}\n"
        f"Social: {told['medications']}\n"
        f"Labs: WBC {rng.uniform(4.2, 15.2):.1f}, {told['potassium']}\n"
        f"1. {_one(rng, _PLANS)}  2. Labs"
    )
    return text, assessment


def _day_notes(rng: np.random.Generator, stay: Stay, day: int, assessment: str) -> list[Note]:
    found = stay.findings
    if day == 1:
        plan = f"HD 2. {assessment}\n1. {tell('chest_pain', found['chest_pain'], rng)}"
        food = f"{tell('appetite', found['appetite'], rng)}."
        return [
            _note(rng, stay, day, "Physician ", plan, "Physician Resident Progress Note"),
            _note(rng, stay, day, "Nutrition", food, "Clinical Nutrition Note"),
        ]
    if day == 2:
        walking = tell("walking", found["walking"], rng)
        return [_note(rng, stay, day, "Rehab Services", f"PT: {walking}")]
    return [_note(rng, stay, day, "Nursing", f"{_one(rng, _STABLE)}.")]


def _summary(rng: np.random.Generator, stay: Stay, out: datetime, assessment: str) -> Note:
    end = "Pt expired in the MICU." if stay.died else "Discharged in stable condition."
    told = tell("medications", stay.findings["medications"], rng)
    text = (
        f"Admission Date: [**{stay.admitted:%Y-%-m-%-d}**]   "
        f"Discharge Date: [**{out:%Y-%-m-%-d}**]\n\nService: MEDICINE\n\n"
        f'Brief Hospital Course: {assessment} Pt states "I feel ok".\n{told}\n{end}\n\n'
        "Dictated By: [**First Name8 (NamePattern2) 1243**], M.D.\n----"
    )
    return Note(out.date(), None, None, "Discharge summary", "Report", text, None)


def _misfiled(rng: np.random.Generator, person: Person, stay: Stay) -> Note:
    """A note on another patient, flagged as an error: it tells the contrary of every finding."""
    other = replace(stay, findings={name: not found for name, found in stay.findings.items()})
    text, _ = _admission_text(rng, person, other)
    note = _note(rng, stay, 0, "Physician ", text, "Physician Resident Admission Note")
    return replace(note, error=True)


def _outpatient(rng: np.random.Generator, stay: Stay) -> Note:
    when = stay.admitted - timedelta(days=int(rng.integers(5, 60)))
    text = "MAMMO/CHEST PA, outpatient.\nNo change since [**Month 3**]; no acute process."
    return Note(when.date(), when, None, "Radiology", "CHEST (PA & LAT)", text, None, linked=False)


def _newborn_notes(rng: np.random.Generator, person: Person, stay: Stay) -> list[Note]:
    sex = "boy" if person.gender == "M" else "girl"
    weight = f"{rng.uniform(2.1, 4.2):.2f} kg"
    text = f"Neonatology\nTerm baby {sex} {weight}, Apgars 8, 9.\nFeeding well, no murmur."
    return [_note(rng, stay, 0, "Nursing/other", text, "Report")]


def _note(
    rng: np.random.Generator,
    stay: Stay,
    day: int,
    category: str,
    text: str,
    description: str = "Nursing Progress Note",
) -> Note:
    """A charted note on a day counted from that of admission, stored some minutes later."""
    midnight = datetime.combine(stay.admitted.date(), time()) + timedelta(days=day)
    start = max(midnight, stay.admitted) if day == 0 else midnight
    end = midnight + timedelta(days=1)
    left = int(((min(end, stay.out) if stay.out else end) - start) / timedelta(minutes=1))
    when = start + timedelta(minutes=int(rng.integers(0, max(left, 1))))
    stored = when + timedelta(minutes=int(rng.integers(1, 240)))
    return Note(
        when.date(), when, stored, category, description, text, int(rng.integers(14000, 21000))
    )


def _one(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
