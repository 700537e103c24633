"""The monitor page: alarms, tonight's figures and outcomes of a few literal nights."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from readmit_spark.nightly.control_charts import QUANTITIES, SPANS, Chart, Rules
from readmit_spark.nightly.monitor_page import Monitor, alarm_rows, chart_name, render_monitor
from tests.html_page import Page

NIGHTS = [datetime(2026, 11, day, 2) for day in (1, 2, 3)]  # the first is the reference


def chart(name: str, span: int, tonight: float, high: float) -> Chart:
    """Make a chart whose last night has the value `tonight` and the limit `high`."""
    return Chart(
        name=name, span=span, nights=NIGHTS, values=np.array([np.nan, 0.1, tonight]),
        low=np.full(3, np.nan), high=np.array([np.nan, 0.5, high]), shown=np.array([0.2, 0.2, 0.3]),
        reference=0.2, n=np.array([0, 4, 3]),
    )  # fmt: skip


def outcome_chart(value: float) -> Chart:
    return Chart(
        name="alert_precision", span=1, nights=NIGHTS, values=np.array([np.nan, np.nan, value]),
        low=np.array([np.nan, np.nan, 0.15]), high=np.array([np.nan, np.nan, 0.4]),
        shown=np.array([np.nan, np.nan, value]), reference=0.25, n=np.array([0, 0, 60]),
    )  # fmt: skip


NEW_ADMISSIONS = pd.DataFrame(
    [
        (NIGHTS[0], 0.2, "Nursing"),
        (NIGHTS[1], 0.4, "ECG + Nursing"),
        (NIGHTS[2], 0.6, "ECG + Nursing"),
        (NIGHTS[2], None, ""),
    ],
    columns=["night", "score", "categories"],
)
OUTCOMES = pd.DataFrame(
    [
        (1, 0.9, 0.5, True, 1, datetime(2026, 9, 1)),
        (2, 0.8, 0.2, True, 0, datetime(2026, 9, 2)),
        (3, 0.3, 0.1, False, 0, datetime(2026, 9, 3)),
        (4, 0.1, 0.0, False, 0, datetime(2026, 9, 4)),
    ],
    columns=["subject_id", "score", "risk", "alerted", "label", "dischtime"],
)


@pytest.fixture(scope="module")
def quiet() -> Monitor:
    return Monitor(
        nights=NIGHTS,
        rules=Rules(reference_nights=1, false_alarm_rate=0.05),
        charts=[chart(name, span, 0.1, 0.5) for name in QUANTITIES for span in SPANS],
        new_admissions=NEW_ADMISSIONS,
        outcomes=OUTCOMES,
        facts={"model": "readmission/<3>"},
    )


def text(page: Monitor) -> str:
    rendered = Page(render_monitor(page))
    assert rendered.open == []
    return rendered.text


def test_an_alarm_has_its_value_and_limit() -> None:
    charts = [
        chart("unknown_words", 1, 0.7, 0.5),
        chart("categories", 7, 0.6, 0.5),
        chart("score", 1, 0.4, 0.5),
        outcome_chart(0.1),
    ]
    assert alarm_rows(charts) == [
        {
            "night": "2026-11-03T02:00:00",
            "what": "Unknown word rate, 1 night",
            "said": "30.00%, reference 20.00%; PSI 0.700 above the limit 0.500 (3 admissions)",
        },
        {
            "night": "2026-11-03T02:00:00",
            "what": "Category mix, 7 nights",
            "said": "PSI 0.600 above the limit 0.500 (3 admissions)",
        },
        {
            "night": "2026-11-03T02:00:00",
            "what": "Alert precision",
            "said": "0.100, limits 0.150 to 0.400 (60 admissions)",
        },
    ]


@pytest.mark.parametrize(
    ("name", "span", "title"),
    [
        ("score", 1, "Score, 1 night"),
        ("notes", 7, "Notes per admission, 7 nights"),
        ("auroc", 28, "AUROC"),
    ],
)
def test_the_name_of_a_chart(name: str, span: int, title: str) -> None:
    assert chart_name(chart(name, span, 0.1, 0.5)) == title


def test_a_quiet_night(quiet: Monitor) -> None:
    words = text(quiet)
    assert "No alarm tonight." in words
    assert "2 admissions were new in hospital." in words
    assert "Score 0.200 0.300 0.100 0.500 0.300 0.100 0.500" in words
    assert "Earlier alarms None." in words
    assert "model readmission/<3>" in words


def test_alarms_of_tonight_and_of_earlier_nights(quiet: Monitor) -> None:
    early = replace(chart("notes", 1, 0.1, 0.5), values=np.array([np.nan, 0.9, 0.1]))
    changed = {("score", 1): chart("score", 1, 0.7, 0.5), ("notes", 1): early}
    charts = [changed.get((c.name, c.span), c) for c in quiet.charts]
    words = text(replace(quiet, charts=charts))
    assert "1 alarm tonight. Score, 1 night : 0.300, reference 0.200; PSI 0.700 above" in words
    assert "2026-11-02 02:00 Notes per admission, 1 night 0.20, reference 0.20" in words


def test_nothing_is_tested_in_the_reference_nights(quiet: Monitor) -> None:
    words = text(replace(quiet, rules=Rules(reference_nights=28, false_alarm_rate=0.05)))
    assert "Nothing is tested yet: 3 of the 28 reference nights are available." in words


def test_outcomes(quiet: Monitor) -> None:
    words = text(replace(quiet, outcomes=pd.concat([OUTCOMES] * 25)))
    assert "100 admissions discharged from 2026-09-01 to 2026-09-04 were followed for" in words
    assert "25 (25.0 %) were followed by a readmission." in words
    assert "Of 50 alerted admissions, 25 were readmitted. The alert precision is 50.0 %" in words
    none_alerted = replace(quiet, outcomes=OUTCOMES.assign(alerted=False))
    assert "None of them was alerted." in text(none_alerted)
    assert "Not known yet." in text(replace(quiet, outcomes=OUTCOMES[:0]))


def test_outcomes_are_split_by_what_the_ward_did(quiet: Monitor) -> None:
    many = pd.concat([OUTCOMES] * 60, ignore_index=True)
    assert "acted on" not in text(replace(quiet, outcomes=many))
    many["acted"] = (many.label == 1) & (many.index < 220)  # 55 of the 60 readmitted alerted
    words = text(replace(quiet, outcomes=many))
    assert "55 of the alerted were acted on: 100.0 % of them were readmitted" in words
    assert "65 of the alerted were not acted on: 7.7 % of them were readmitted" in words


def test_observed_over_expected_is_that_of_the_risks(quiet: Monitor) -> None:
    many = pd.concat([OUTCOMES] * 25, ignore_index=True).assign(subject_id=range(100))
    words = text(replace(quiet, outcomes=many))
    assert "The risks announced 20.0 readmissions; 25 came. Observed over expected is 1.25" in words
    assert "The risks announced" not in text(replace(quiet, outcomes=many.assign(risk=np.nan)))


def test_few_outcomes_and_few_nights_have_no_figures(quiet: Monitor) -> None:
    page = Page(render_monitor(quiet))
    assert "4 admissions discharged" in page.text and "25.0 %" not in page.text
    assert "2 of them were alerted: too few to say how precise alerts are." in page.text
    assert "too few to say whether the scores agree" in page.text
    assert "Charts are drawn from 7 nights on; there are 3." in page.text
    drawn = len(page.all("img"))
    week = [datetime(2026, 11, day, 2) for day in range(1, 8)]
    charts = [
        replace(
            c, nights=week, n=np.repeat(c.n, 3)[:7],
            **{k: np.repeat(getattr(c, k), 3)[:7] for k in ("values", "low", "high", "shown")},
        )
        for c in quiet.charts
    ]  # fmt: skip
    weekly = replace(quiet, nights=week, charts=charts)
    assert len(Page(render_monitor(weekly)).all("img")) == drawn + len(QUANTITIES)
