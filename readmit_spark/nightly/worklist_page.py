"""Render a night's worklist as one HTML page for the ward, and as a CSV.

The page loads nothing from elsewhere. A Content-Security-Policy allows only the page's own script;
the list is also complete without it. The script creates the details of a patient on demand from
JSON in the page, because the details of 2,000 patients would make the page slow.
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
from readmit_spark.nightly.worklist_types import Alert, Patient, Worklist
from readmit_spark.pages.html import page_environment, window_title

CSV_COLUMNS = (
    *("as_of", "rank", "subject_id", "hadm_id", "day_of_stay", "score", "previous_score"),
    *("change", "alert", "n_notes", "n_chunks", "driver_row_ids", "driver_share", "risk"),
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SPARK_WIDTH, _SPARK_HEIGHT = 96, 30  # px


def render_worklist(night: Worklist) -> str:
    """Render the page. Equal nights give equal bytes. All text is escaped."""
    templates = page_environment()
    templates.filters |= {
        "iso_day": _iso_day,
        "moment": _moment,
        "sparkline": _sparkline,
        "signed": _signed,
    }
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    style = _source("pages/style.css") + _source("nightly/worklist.css") + _alert_mark(night.alert)
    script = _source("nightly/worklist.js")
    return templates.get_template("nightly/worklist.html.j2").render(
        night=night,
        window=window_title(night.window).lower(),
        counts={
            change: sum(p.change == change for p in night.patients)
            for change in ("new", "risen", "fallen", "same")
        },
        alert_words=alert_words(
            night.alert, len(night.patients), night.horizon_days, night.has_risks
        ),
        choices=_choices(night),
        details=[_details(patient) for patient in night.patients],
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )


def worklist_csv(night: Worklist) -> str:
    """Render one row for each patient, by rank, with the columns `CSV_COLUMNS` and those of
    `nightly.columns` in lower case (RFC 4180).

    Numbers are exact. driver_row_ids: the notes of the chunk with the largest share, separated by
    spaces. A value of `nightly.columns` that a spreadsheet could take for a formula begins with an
    apostrophe; there is no other free text.
    """
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow((*CSV_COLUMNS, *(name.strip().lower() for name in night.columns)))
    for p in night.patients:
        driver = p.drivers[0] if p.drivers else None
        rows = dict.fromkeys(passage.row_id for passage in driver.passages) if driver else ()
        writer.writerow(
            (
                *(night.as_of.isoformat(), p.rank, p.subject_id, p.hadm_id, p.day_of_stay),
                *(p.score, p.previous_score, p.change, "true" if p.alert else "false"),
                *(p.n_notes, p.n_chunks, " ".join(map(str, rows))),
                driver.share if driver else None,
                p.risk,
                *(_no_formula(p.columns.get(name, "")) for name in night.columns),
            )
        )
    return out.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _choices(night: Worklist) -> dict[str, list[str]]:
    """Return the values of each of `nightly.columns` on the list, for its filter."""
    return {
        name: sorted({p.columns[name] for p in night.patients if name in p.columns})
        for name in night.columns
    }


def _details(patient: Patient) -> dict[str, Any]:
    """Return the JSON of a patient that the page's script sorts, filters and shows.

    Ids are strings, because numbers in JavaScript are exact only up to 2**53.
    """
    previous = patient.previous_value
    return {
        "rank": patient.rank,
        "subject": str(patient.subject_id),
        "admission": str(patient.hadm_id),
        "day": patient.day_of_stay,
        "value": patient.value,
        "moved": None if previous is None else patient.value - previous,
        "change": patient.change,
        "alert": patient.alert,
        "columns": dict(patient.columns),
        "notes": patient.n_notes,
        "chunks": patient.n_chunks,
        "nights": [(_short(night), value) for night, value in patient.history],
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


def _sparkline(history: Sequence[tuple[datetime, float]]) -> Markup:
    """Draw the risk or score over time; y is from 0 to 1 for every patient."""
    if not history:
        return Markup("")
    first, last = history[0][0], history[-1][0]
    span = (last - first).total_seconds()
    margin = 2.5  # room for the dot

    def position(night: datetime, score: float) -> tuple[float, float]:
        elapsed = (night - first).total_seconds() / span if span else 1.0
        return (
            round(margin + elapsed * (_SPARK_WIDTH - 2 * margin), 1),
            round(margin + (1 - score) * (_SPARK_HEIGHT - 2 * margin), 1),
        )

    points = [position(*entry) for entry in history]
    scores = [score for _, score in history]
    summary = f"{len(scores)} nights: first {scores[0]:.3f}, highest {max(scores):.3f}"
    label = f"{summary}, now {scores[-1]:.3f}" if len(scores) > 1 else "first night"
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    x, y = points[-1]
    return Markup(
        '<svg class="spark" width="{}" height="{}" role="img" aria-label="{}">'
        '<path d="{}"/><circle cx="{:g}" cy="{:g}" r="2.5"/></svg>'
    ).format(_SPARK_WIDTH, _SPARK_HEIGHT, label, path, x, y)


def _alert_mark(alert: Alert) -> str:
    """Return the CSS that draws the alert threshold in bars and sparklines."""
    if alert.threshold is None:
        return ""
    return f":root {{ --alert: {alert.threshold:.4f}; --mark: var(--edge); }}\n"


def _source(name: str) -> str:
    return files("readmit_spark").joinpath(name).read_text(encoding="utf-8")


def _csp_hash(source: str) -> str:
    """Return the hash that allows an inline element in a Content-Security-Policy."""
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
    if float(shown) == 0:  # a zero would contradict "risen" or "fallen" beside it
        return f"by less than {10**-digits}"
    return shown.replace("-", "\N{MINUS SIGN}")
