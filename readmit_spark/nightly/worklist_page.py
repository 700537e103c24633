"""A night's list as one self-contained HTML page for the ward, and as a CSV.

The page loads nothing, runs only its own script (a Content-Security-Policy holds it to that), and
shows the list without a script as well. Details are drawn when somebody opens them, from JSON in
the page: 2,000 patients would be too many elements.
"""

from __future__ import annotations

import csv
from base64 import b64encode
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from importlib.resources import files
from io import StringIO
from typing import Any

from markupsafe import Markup

from readmit_spark.nightly.alert_text import alert_words
from readmit_spark.nightly.worklist_types import (
    Alert,
    Change,
    Driver,
    Left,
    NewNote,
    Night,
    Passage,
    Patient,
)
from readmit_spark.pages.html import page_environment, window_title

__all__ = [
    "Alert",
    "Change",
    "Driver",
    "Left",
    "NewNote",
    "Night",
    "Passage",
    "Patient",
    "render_worklist",
    "worklist_csv",
]

CSV_COLUMNS = (
    *("as_of", "rank", "subject_id", "hadm_id", "day_of_stay", "score", "previous_score"),
    *("change", "alert", "n_notes", "n_chunks", "driver_row_ids", "driver_share"),
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SPARK_WIDTH, _SPARK_HEIGHT = 96, 30  # px


def render_worklist(night: Night) -> str:
    """The page; the same night gives the same bytes. All text is escaped."""
    pages = page_environment()
    pages.filters |= {"iso_day": _iso_day, "moment": _moment, "spark": _spark, "signed": _signed}
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    style = _source("pages/style.css") + _source("nightly/worklist.css") + _alert_mark(night.alert)
    script = _source("nightly/worklist.js")
    return pages.get_template("nightly/worklist.html.j2").render(
        night=night,
        window=window_title(night.window).lower(),
        counts={
            change: sum(p.change == change for p in night.patients)
            for change in ("new", "risen", "fallen", "same")
        },
        alert_words=alert_words(night.alert, len(night.patients), night.horizon_days),
        details=[_details(patient) for patient in night.patients],
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )


def worklist_csv(night: Night) -> str:
    """One row a patient, by rank: `CSV_COLUMNS`, RFC 4180 with a header.

    Numbers are exact; ``driver_row_ids`` are the notes of the chunk with the largest share, parted
    by spaces. There is no free text in it, so nothing that a spreadsheet could take for a formula.
    """
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for p in night.patients:
        driver = p.drivers[0] if p.drivers else None
        rows = dict.fromkeys(passage.row_id for passage in driver.passages) if driver else ()
        writer.writerow(
            (
                *(night.as_of.isoformat(), p.rank, p.subject_id, p.hadm_id, p.day_of_stay),
                *(p.score, p.previous_score, p.change, "true" if p.alert else "false"),
                *(p.n_notes, p.n_chunks, " ".join(map(str, rows))),
                driver.share if driver else None,
            )
        )
    return out.getvalue()


def _details(patient: Patient) -> dict[str, Any]:
    """What sorting, filtering and a patient's details need. Ids are text: JavaScript's numbers are
    exact up to 2**53 only."""
    previous = patient.previous_score
    return {
        "rank": patient.rank,
        "subject": str(patient.subject_id),
        "admission": str(patient.hadm_id),
        "day": patient.day_of_stay,
        "score": patient.score,
        "moved": None if previous is None else patient.score - previous,
        "change": patient.change,
        "alert": patient.alert,
        "notes": patient.n_notes,
        "chunks": patient.n_chunks,
        "nights": [(_short(night), score) for night, score in patient.history],
        "drivers": [
            {
                "probability": driver.probability,
                "share": driver.share,
                "passages": [
                    {
                        "note": str(passage.row_id),
                        "category": passage.category.strip(),
                        "start": passage.start,
                        "end": passage.end,
                        "text": passage.text,
                    }
                    for passage in driver.passages
                ],
            }
            for driver in patient.drivers
        ],
        "newNotes": [
            {
                "note": str(note.row_id),
                "category": note.category.strip(),
                "written": None if note.written is None else _short(note.written),
            }
            for note in patient.new_notes
        ],
    }


def _spark(history: Sequence[tuple[datetime, float]]) -> Markup:
    """The score over the nights: x is time, y from 0 to 1 for every patient alike."""
    if not history:
        return Markup("")
    first, last = history[0][0], history[-1][0]
    span = (last - first).total_seconds()
    inset = 2.5  # room for the dot

    def at(night: datetime, score: float) -> tuple[float, float]:
        along = (night - first).total_seconds() / span if span else 1.0
        return (
            round(inset + along * (_SPARK_WIDTH - 2 * inset), 1),
            round(inset + (1 - score) * (_SPARK_HEIGHT - 2 * inset), 1),
        )

    points = [at(*entry) for entry in history]
    scores = [score for _, score in history]
    told = f"{len(scores)} nights: first {scores[0]:.3f}, highest {max(scores):.3f}"
    label = f"{told}, now {scores[-1]:.3f}" if len(scores) > 1 else "first night"
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    x, y = points[-1]
    return Markup(
        '<svg class="spark" width="{}" height="{}" role="img" aria-label="{}">'
        '<path d="{}"/><circle cx="{:g}" cy="{:g}" r="2.5"/></svg>'
    ).format(_SPARK_WIDTH, _SPARK_HEIGHT, label, path, x, y)


def _alert_mark(alert: Alert) -> str:
    """CSS: where bars and sparklines draw the line of the alert."""
    if alert.threshold is None:
        return ""
    return f":root {{ --alert: {alert.threshold:.4f}; --mark: var(--edge); }}\n"


def _source(name: str) -> str:
    return files("readmit_spark").joinpath(name).read_text(encoding="utf-8")


def _csp_hash(source: str) -> str:
    """As a Content-Security-Policy names an inline element by its content."""
    return "sha256-" + b64encode(sha256(source.encode()).digest()).decode("ascii")


def _day(when: date) -> str:
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def _iso_day(when: str) -> str:
    return _day(date.fromisoformat(when))


def _moment(when: datetime) -> str:
    return f"{_day(when)}, {when:%H:%M}"


def _short(when: datetime) -> str:
    return f"{when.day} {_MONTHS[when.month - 1][:3]}, {when:%H:%M}"


def _signed(value: float, digits: int = 3) -> str:
    shown = f"{value:+.{digits}f}"
    if float(shown) == 0:  # beside "risen" or "fallen" a zero would contradict it
        return f"by less than {10**-digits}"
    return shown.replace("-", "\N{MINUS SIGN}")
