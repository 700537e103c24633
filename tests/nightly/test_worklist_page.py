"""The worklist page and CSV: complete, escaped, and without anything loaded from elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from readmit_spark.nightly.worklist_page import render_worklist, worklist_csv
from readmit_spark.nightly.worklist_types import Driver, Left, NewNote, Passage, Patient
from tests.html_page import Page
from tests.nights import AS_OF, alert, night

EVIL = """<script>evil()</script><!--</script> "onmouseover=evil() '&amp;\u2028"""
RISEN = Patient(
    rank=1,
    subject_id=501,
    hadm_id=9_007_199_254_740_993,  # 2**53 + 1, which is not exact as a JavaScript number
    day_of_stay=3,
    n_notes=7,
    n_chunks=5,
    score=0.7125,
    previous_score=0.6,
    change="risen",
    alert=True,
    history=[(AS_OF - timedelta(days=3), 0.5), (AS_OF - timedelta(days=1), 0.6), (AS_OF, 0.7125)],
    drivers=[
        Driver(4, 0.97, 0.6154, [Passage(77, "Nursing ", 1200, 1890), Passage(78, "ECG", 0, 40)]),
        Driver(0, 0.5, 0.1, []),
    ],
    new_notes=[NewNote(78, "ECG", AS_OF - timedelta(hours=5)), NewNote(79, "Nursing ", None)],
)
FALLEN = replace(
    RISEN,
    rank=2,
    subject_id=502,
    hadm_id=902,
    score=0.25,
    previous_score=0.5,
    change="fallen",
    alert=False,
    history=[(AS_OF - timedelta(days=1), 0.5), (AS_OF, 0.25)],
    drivers=[],
    new_notes=[],
)
NEW = replace(
    FALLEN,
    rank=3,
    subject_id=503,
    hadm_id=903,
    score=0.125,
    previous_score=None,
    change="new",
    history=[(AS_OF, 0.125)],
)
THREE = night(0, patients=(RISEN, FALLEN, NEW), alert=alert(tonight=1), unscored={"no_notes": 2})


def page(**changed: Any) -> Page:
    return Page(render_worklist(replace(THREE, **changed)))


def island(source: str) -> Any:
    """Return the JSON in the page as a browser reads it: up to the first closing tag."""
    start = '<script id="details" type="application/json">'
    return json.loads(source.partition(start)[2].partition("</script")[0])


def table_rows(source: str) -> list[str]:
    """Return the text of each patient's row."""
    body = source.partition('id="patients"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [Page(row).text for row in body.split("</tr>")[:-1]]


def test_a_row_shows_rank_score_change_and_strongest_chunk() -> None:
    assert table_rows(render_worklist(THREE)) == [
        "1 Alert 501 adm. 9007199254740993 3 0.713 ▲ risen +0.113 2 "
        "62 % Nursing, note 77, 1,200\N{EN DASH}1,890; 1 more Show",
        "2 502 adm. 902 3 0.250 ▼ fallen \N{MINUS SIGN}0.250 0 Show",
        "3 503 adm. 903 3 0.125 new all Show",
    ]


def test_with_risks_the_list_shows_risks_and_the_score_beside() -> None:
    patient = replace(RISEN, risk=0.31, previous_risk=0.25, history=[(AS_OF, 0.31)])
    one = night(0, patients=(patient,), alert=alert(tonight=1, threshold=0.3), has_risks=True)
    source = render_worklist(one)
    assert table_rows(source) == [
        "1 Alert 501 adm. 9007199254740993 3 0.310 score 0.713 ▲ risen +0.060 2 "
        "62 % Nursing, note 77, 1,200\N{EN DASH}1,890; 1 more Show",
    ]
    assert 'width="31.0"' in source and "patients, highest risk first" in source
    assert (island(source)[0]["value"], island(source)[0]["moved"]) == (0.31, pytest.approx(0.06))
    assert "a score is not a risk in percent" not in Page(source).text
    (row,) = csv.DictReader(StringIO(worklist_csv(one)))
    assert (row["score"], row["risk"]) == ("0.7125", "0.31")


def test_doubts_about_the_model_stand_before_the_list() -> None:
    source = render_worklist(replace(THREE, doubts=["It ranks <like> a coin."]))
    box = "Do not rely on this ranking. It ranks <like> a coin."
    text = Page(source).text
    assert text.index(box) < text.index("Who is alerted") and "<like>" not in source
    assert "Do not rely" not in page().text


def test_columns_of_the_hospital_are_on_the_list_in_filters_and_in_the_csv() -> None:
    placed = [replace(RISEN, columns={"WARD": "3 <B>", "Bed": "=1+1"}), FALLEN]
    one = night(0, patients=placed, alert=alert(tonight=1), columns=("WARD", "Bed"))
    source = render_worklist(one)
    assert "501 adm. 9007199254740993 ward: 3 <B> bed: =1+1" in table_rows(source)[0]
    assert "3 <B>" not in source.replace("3 &lt;B&gt;", "")
    assert '<option value="3 &lt;B&gt;">' in source
    assert [one["columns"] for one in island(source)] == [{"WARD": "3 <B>", "Bed": "=1+1"}, {}]
    first, second = csv.DictReader(StringIO(worklist_csv(one)))
    assert (first["ward"], first["bed"], second["ward"]) == ("3 <B>", "'=1+1", "")


def test_without_risks_the_list_says_so() -> None:
    assert "a score is not a risk in percent: this model has no risks" in page().text


def test_a_tiny_change_is_not_shown_as_zero() -> None:
    hardly = replace(FALLEN, score=0.2499, previous_score=0.25)
    rows = table_rows(render_worklist(night(0, patients=(hardly,), alert=alert(tonight=0))))
    assert rows == ["2 502 adm. 902 3 0.250 ▼ fallen by less than 0.001 0 Show"]


def test_the_page_contains_the_details_as_json() -> None:
    first = island(render_worklist(THREE))[0]
    assert (first["subject"], first["admission"]) == ("501", "9007199254740993")
    assert first["moved"] == pytest.approx(0.1125)
    assert first["nights"] == [
        *(["19 Nov, 02:00", 0.5], ["21 Nov, 02:00", 0.6], ["22 Nov, 02:00", 0.7125])
    ]
    assert first["drivers"][0]["share"] == 0.6154
    assert first["drivers"][0]["passages"][0] == {
        "note": "77",
        "category": "Nursing",
        "start": 1200,
        "end": 1890,
        "text": None,
    }
    assert [n["written"] for n in first["newNotes"]] == ["21 Nov, 21:00", None]


def test_the_header_counts_patients_and_changes() -> None:
    words = page().text
    assert "Readmission worklist, 22 November 2026, 02:00" in words
    assert "5 patients were in hospital at this time." in words
    assert (
        "read the notes of the first 3 days of each admission and gave 3 of them a score" in words
    )
    tiles = "3 on the list 1 alerted 1 new 1 risen 1 fallen 0 left 2 without a score"
    assert tiles in words
    assert "Compared with the list of 21 November 2026, 02:00:" in words
    assert "no notes 2" in words


def test_admissions_that_left_have_a_reason() -> None:
    assert "7 70 0.412 discharged" in page(left=[Left(7, 70, 0.4123, "discharged")]).text
    assert "Left since last night Nobody." in page(left=[]).text


def test_a_first_night_shows_no_changes() -> None:
    words = page(previous=None, left=[]).text
    assert "This is the first list, so there is no earlier list to compare with." in words
    assert "3 on the list 1 alerted 2 without a score" in words
    assert "Not known on a first night." in words


def test_the_discharge_window_is_named_in_words() -> None:
    assert "A program read the discharge summary of each admission" in page(window="discharge").text


def test_the_page_shows_the_configured_horizon() -> None:
    words = page(horizon_days=7.5).text
    assert "within 7.5 days after discharge." in words and "30 days" not in words


def test_outcomes_with_their_intervals() -> None:
    words = page().text
    assert (
        "1,840 admissions of earlier lists (1 August 2026 to 22 October 2026) have a known" in words
    )
    assert "131 of them (7.1 %) were followed by a readmission." in words
    assert "In 74 % of such pairs (95 % interval 70 % to 78 %) the readmitted patient" in words
    assert (
        "Of the 211 alerted patients among them, 20 % were readmitted (95 % interval 15 % to 26 %)."
        in words
    )


def test_few_outcomes_are_counted_and_no_more() -> None:
    few = {
        "n": 49, "readmitted": 12, "from": "2026-08-01", "to": "2026-10-22",
        "auroc": {"value": 0.742, "low": 0.5, "high": 0.9},
        "alert_precision": {"value": 0.5, "low": 0.1, "high": 0.9, "n": 8},
    }  # fmt: skip
    text = page(outcomes=few).text
    assert "12 of them were followed by a readmission. These are too few to say how well" in text
    assert "8 of them were alerted: too few to say which share" in text
    assert "74 %" not in text


@pytest.mark.parametrize("outcomes", [None, {}, {"n": 0}])
def test_outcomes_that_are_not_known_yet(outcomes: Any) -> None:
    assert (
        "Not known yet. The outcome of an admission is known 30 days after"
        in page(outcomes=outcomes).text
    )


def test_outcomes_without_a_measure_give_its_reason() -> None:
    none = {"value": None, "low": None, "high": None}
    words = page(
        outcomes={
            "n": 3,
            "readmitted": 0,
            "auroc": none | {"reason": "no readmitted admission among those evaluated"},
            "alert_precision": none | {"n": 0},
            "from": "2026-01-01",
            "to": "2026-01-02",
        }
    ).text
    assert "ranked them is not known: no readmitted admission among those evaluated." in words
    assert "The share of alerted patients who were readmitted is not known." in words


# --- The page as a page ---


@pytest.mark.parametrize("n", [0, 1, 40])
def test_every_tag_is_closed_and_ids_are_unique(n: int) -> None:
    rendered = Page(render_worklist(night(n)))
    assert rendered.open == []
    ids = [attributes["id"] for _, attributes in rendered.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in rendered.all("a")} <= set(ids)


def test_an_empty_hospital_gives_an_empty_list() -> None:
    rendered = Page(render_worklist(night(0)))
    assert "No patient was in hospital at this time, so the list is empty." in rendered.text
    assert "Nobody has a score tonight." in rendered.text
    assert not rendered.all("form")


def test_only_unscored_patients() -> None:
    words = page(patients=(), alert=alert(tonight=0), unscored={"no_notes": 1}).text
    assert "1 patient was in hospital at this time." in words
    assert "Nobody has a score tonight." in words


def test_admissions_that_may_be_in_hospital_are_counted() -> None:
    more = "more admissions may be in hospital, but are not on this page"
    assert f"3 {more}" in page(uncertain=3).text
    assert more not in page().text


def test_a_source_older_than_a_day_is_said() -> None:
    said = "The last admission is of 2026-01-10 18:00, more than a day before this list"
    assert said in page(old_sources={"admission": "2026-01-10 18:00"}).text
    assert "more than a day before" not in page().text


def test_two_thousand_patients_are_all_listed() -> None:
    full = night(2000)
    source = render_worklist(full)
    rows = table_rows(source)
    assert len(rows) == len(island(source)) == 2000
    for row, patient in zip(rows, full.patients, strict=True):
        assert f"{patient.subject_id} adm. {patient.hadm_id}" in row
    assert "2,009 patients were in hospital" in Page(source).text


def test_the_same_night_gives_the_same_bytes() -> None:
    assert render_worklist(night(30)) == render_worklist(night(30))


def test_nothing_is_loaded_and_only_its_own_script_may_run() -> None:
    source = render_worklist(THREE)
    assert not re.search(r"https?:|url\(|@import|<link|\ssrc=|\son\w+=|\sstyle=", source)
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", source, re.S)
    )
    (policy,) = [m for m in Page(source).all("meta") if "http-equiv" in m]
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_markup_in_a_field_is_shown_as_text() -> None:
    driver = Driver(0, 0.9, 0.5, [Passage(1, EVIL, 0, 9, text=EVIL)])
    evil = replace(RISEN, drivers=[driver], new_notes=[NewNote(2, EVIL, None)])
    source = render_worklist(
        replace(
            THREE,
            patients=(evil, FALLEN, NEW),
            left=[Left(1, 2, 0.5, EVIL)],
            unscored={EVIL: 1},
            facts={EVIL: EVIL},
            seconds={EVIL: 1.0},
            model=EVIL,
            alert=alert(tonight=1, note=EVIL),
        )
    )
    rendered = Page(source)
    assert rendered.open == []
    assert len(rendered.all("script")) == 2
    assert not any(name.startswith("on") for _, attributes in rendered.tags for name in attributes)
    passage = island(source)[0]["drivers"][0]["passages"][0]
    assert passage["text"] == EVIL and passage["category"] == EVIL.strip()
    assert rendered.text.count("<script>evil()</script>") == 9


def test_note_text_is_included_only_on_request() -> None:
    driver = Driver(0, 0.9, 0.5, [Passage(1, "ECG", 0, 9, text="a sentence of the note")])
    with_text = replace(THREE, patients=(replace(RISEN, drivers=[driver]), FALLEN, NEW))
    assert "a sentence of the note" in render_worklist(with_text)
    assert {p["text"] for d in island(render_worklist(THREE))[0]["drivers"] for p in d["passages"]}
    assert '"text":"' not in render_worklist(THREE)


def spark(history: Any) -> tuple[list[list[float]], str]:
    source = render_worklist(
        replace(THREE, patients=(replace(NEW, history=history),), alert=alert())
    )
    (svg,) = [a for tag, a in Page(source).tags if tag == "svg" and a["class"] == "spark"]
    path = re.search(r'<path d="M([^"]*)"', source)
    assert path is not None
    points = [[float(v) for v in point.split(" ")] for point in path[1].split("L")]
    return points, svg["aria-label"] or ""


def test_a_sparkline_has_time_on_x_and_the_score_on_y() -> None:
    nights = [(datetime(2026, 11, d, 2), s) for d, s in ((18, 0.0), (19, 1.0), (22, 0.5))]
    points, label = spark(nights)
    # 96 x 30 with 2.5 px around: 91 px for four days, 25 px from score 1 down to 0.
    assert points == [[2.5, 27.5], [25.2, 2.5], [93.5, 15.0]]
    assert label == "3 nights: first 0.000, highest 1.000, now 0.500"


def test_sparkline_of_a_first_night_is_a_dot() -> None:
    assert spark([(AS_OF, 0.2)]) == ([[93.5, 22.5]], "first night")


# --- The CSV ---


def test_the_csv_has_one_row_for_each_patient_with_exact_numbers() -> None:
    third = replace(NEW, score=0.1 + 0.2)
    text = worklist_csv(replace(THREE, patients=(RISEN, FALLEN, third)))
    assert text.splitlines()[0] == (
        "as_of,rank,subject_id,hadm_id,day_of_stay,score,previous_score,change,alert,n_notes,"
        "n_chunks,driver_row_ids,driver_share,risk"
    )
    rows = list(csv.DictReader(StringIO(text)))
    assert list(rows[0].values()) == [
        *("2026-11-22T02:00:00", "1", "501", "9007199254740993", "3", "0.7125", "0.6"),
        *("risen", "true", "7", "5", "77 78", "0.6154", ""),
    ]
    assert (rows[1]["driver_row_ids"], rows[1]["driver_share"]) == ("", "")
    assert rows[2]["previous_score"] == "" and float(rows[2]["score"]) == 0.1 + 0.2


def test_the_csv_has_no_field_that_a_spreadsheet_reads_as_a_formula() -> None:
    driver = Driver(0, 0.9, 0.5, [Passage(1, '=HYPERLINK("x")', 0, 9, text="@SUM(A1)")])
    text = worklist_csv(replace(THREE, patients=(replace(RISEN, drivers=[driver]), FALLEN, NEW)))
    cells = [cell for row in csv.reader(StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_the_csv_of_an_empty_night_is_its_header() -> None:
    assert len(worklist_csv(night(0)).splitlines()) == 1
