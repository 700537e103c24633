"""The report page: complete, explained, escaped, and without anything loaded from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from readmit_spark.evaluation.decay import by_month
from readmit_spark.evaluation.report_page import FlowStep, Report, render
from tests.evaluation.test_decay import admissions
from tests.html_page import Page


@pytest.fixture(scope="module")
def source(report: Report) -> str:
    return render(report)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_loaded_from_anywhere(source: str, page: Page) -> None:
    assert not re.search(r"https?:|url\(|@import|<script|<link", source)
    assert all((img["src"] or "").startswith("data:image/png;base64,") for img in page.all("img"))
    assert all((a["href"] or "").startswith("#") for a in page.all("a"))


def test_a_screen_reader_can_read_it(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    alts = [img["alt"] for img in page.all("img")]
    assert len(alts) == 10 and all(alts) and len(set(alts)) == 10
    assert all(th.get("scope") for th in page.all("th"))
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    assert {(a["href"] or "")[1:] for a in page.all("a")} <= ids


def test_measures_have_their_intervals(page: Page, report: Report) -> None:
    for window in report.windows[:2]:
        for measured in (window.natural, window.balanced):
            for name in ("auroc", "auprc", "average_precision", "brier"):
                m = measured[name]
                assert f"{m['value']:.3f} {m['low']:.3f} to {m['high']:.3f}" in page.text
            rp80 = measured["rp80"]
            assert f"{100 * rp80['value']:.1f} % " in page.text
            assert f"score ≥ {rp80['threshold']:.3f}" in page.text


def test_the_head_says_of_what_and_the_first_line_is_the_figure(page: Page, report: Report) -> None:
    head, results = page.text.split("Results First", 1)
    assert f"Model {report.facts['model']}; notes prepared on 2026-01-02 at 03:04:05 UTC." in head
    auroc = report.windows[0].natural["auroc"]
    figure = "AUROC {value:.3f} (95 % interval {low:.3f} to {high:.3f})".format(**auroc)
    assert figure in results[:90]


def test_an_undefined_measure_shows_its_reason(page: Page) -> None:
    assert "none: no readmitted admission among those evaluated" in page.text
    assert "Discharge summary Not drawn: no readmitted admission among those" in page.text


@pytest.mark.parametrize(
    "word",
    [
        *("AUROC", "AUPRC", "RP80", "Brier", "Calibration", "Actionable", "Readmitted"),
        *("Precision and recall", "Natural and balanced", "95 % interval", "Attainable"),
    ],
)
def test_words_are_explained(source: str, word: str) -> None:
    assert re.search(rf"<dt>{word}", source.replace("&#8239;", " "))


def test_the_attainable_auroc_is_shown_only_where_it_is_known(page: Page, report: Report) -> None:
    assert "attainable 0.870" in page.text
    real = [replace(window, attainable_auroc=None) for window in report.windows]
    assert "ttainable" not in Page(render(replace(report, windows=real))).text


def test_the_vote_and_its_parts_are_a_row_where_they_are_known(page: Page, report: Report) -> None:
    assert "What is the vote worth?" not in page.text
    first, *others = report.windows
    part = {"auroc": 0.712, "gain": 0.02, "low": -0.01, "high": 0.05}
    few = {"auroc": 0.698, "gain": -0.034, "low": None, "high": None}
    vote = {"several": 0.97, "max_probability": part, "mean_probability": few}
    text = Page(render(replace(report, windows=[replace(first, vote=vote), *others]))).text
    for shown in ("0.712", "+0.020 -0.010 to +0.050", "0.698", "-0.034 too few to say"):
        assert shown in text


def test_readmitted_or_dead_is_a_line_where_deaths_are_known(page: Page, report: Report) -> None:
    assert "readmitted or dead" not in page.text
    first, *others = report.windows
    windows = [replace(first, readmitted_or_dead=first.natural), *others]
    shown = render(replace(report, windows=windows))
    assert shown.count("<td>readmitted or dead</td>") == 1 and 'rowspan="3"' in shown
    assert "Readmitted or dead" in Page(shown).text


def test_readmissions_of_unknown_plan_are_called_all_cause(page: Page, report: Report) -> None:
    assert "all-cause" not in page.text
    text = Page(render(replace(report, all_cause=True))).text
    assert "all-cause" in text and "readmitted, unplanned" not in text


def test_it_shows_flow_losses_facts_and_times(page: Page) -> None:
    for line in (
        "6,311 admissions in the table \N{MINUS SIGN} 402 newborn \N{MINUS SIGN} 357 died in hosp",
        "5,550 in the cohort \N{MINUS SIGN} 120 no notes in window",
        "600 measured here",
        "7,200 1,800 25.0 % 2,940,000 126,600 4.3 % 67.4 % 0.612",
        "notes of unknown admission 14",
        "profile default",
        "finetune 140.0",
    ):
        assert line in page.text


def test_it_warns_that_a_ward_does_not_see_the_balanced_rp80(page: Page, report: Report) -> None:
    assert "RP80 is exploratory" in page.text
    ward = report.windows[0].balanced["ward_precision"]
    share = f"({ward['readmitted'] / ward['alerted']:.0%})".replace("%", " %")
    assert (
        f"alerts {ward['alerted']} of these 600 admissions; {ward['readmitted']} of them {share} "
        in page.text
    )


def test_net_benefit_is_shown_for_each_window_with_its_gain(page: Page, report: Report) -> None:
    for window in report.windows[:2]:
        assert [row.risk for row in window.decision] == [0.05, 0.1, 0.2, 0.3, 0.5]
        for row in window.decision:
            cells = f"{row.model} {row.capacity} {row.everybody} {row.gain}"
            assert f"{row.risk:.0%}".replace("%", " % ") + cells in page.text


def test_months_are_shown_where_they_were_measured(page: Page, report: Report) -> None:
    assert "Does it hold over time?" not in page.text
    window = replace(report.windows[0], by_month=by_month(admissions()))
    shown = Page(render(replace(report, windows=[window]))).text
    assert (
        "First 2 days 2026-01 60 30 1.000 " in shown
        and "2026-02 to 2026-04 48 24 too few to say" in shown
    )


def test_a_window_of_fewer_than_50_stays_has_no_figures(report: Report) -> None:
    first = report.windows[0]
    few = replace(first, natural=first.natural | {"n": 49}, balanced=first.balanced | {"n": 49})
    shown = Page(render(replace(report, windows=[few])))
    assert f"{first.natural['auroc']['value']:.3f}" not in shown.text
    assert "First 2 days : too few to say: 49 admissions were measured" in shown.text
    assert "Not drawn: too few to say." in shown.text and not shown.all("img")
    assert shown.open == []


def test_calibration_is_shown_with_intervals(page: Page, report: Report) -> None:
    for key in ("observed_over_expected", "calibration_intercept", "calibration_slope"):
        m = report.windows[0].natural[key]
        assert f"{m['value']:.3f} {m['low']:.3f} to {m['high']:.3f}" in page.text


def test_texts_are_escaped(report: Report) -> None:
    evil = "<script>alert(1)</script>"
    facts = {"model": evil, "prepared": "", evil: evil}
    changed = replace(report, title=evil, facts=facts, bad_rows={evil: 1})
    assert evil not in render(changed)
    assert (
        render(changed).count("&lt;script&gt;") == 7
    )  # title and model twice, fact, value, reason


def test_an_empty_run_is_still_a_page(report: Report) -> None:
    empty = replace(report, windows=(), bad_rows={}, seconds={})
    assert "Nothing was recorded" in render(empty)


def test_a_flow_that_does_not_add_up_is_an_error(report: Report) -> None:
    flow = [FlowStep("admissions in the table", 6311, [("newborn", 402)])]
    with pytest.raises(ValueError, match=r"2days: of 6311 .* 5909 remain, but .* has 5550"):
        replace(report, flow=flow)


@pytest.mark.parametrize(
    ("name", "words"),
    [("1days", "First day"), ("3days", "First 3 days"), ("discharge", "Discharge summary")],
)
def test_windows_have_a_name_in_words(report: Report, name: str, words: str) -> None:
    assert replace(report.windows[0], name=name).words == words


def test_frozen_thresholds_are_shown_with_what_was_told_and_what_is_reached(
    page: Page, report: Report
) -> None:
    figures = report.windows[1].alerts
    assert figures is not None
    row = next(row for row in figures["thresholds"] if row["threshold"] is not None)
    told, reached = row["told"]["precision"], row["reached"]["per_100"]
    assert f"{row['target']:.0%}".replace("%", " %") in page.text  # the text has plain blanks
    for shown in (
        f"{row['threshold']:.3f}",
        f"{told['value']:.0%}".removesuffix("%"),
        f"{row['told']['alerts']:,} alerts",
        f"{reached['value']:.1f} {reached['low']:.1f} to {reached['high']:.1f}",
    ):
        assert shown in page.text
    assert "no threshold can be chosen" in page.text  # of the window without a readmission
    assert "20 of 100" in page.text


def test_the_only_scores_on_it_are_the_thresholds(source: str, report: Report) -> None:
    thresholds = {
        f"{m['rp80']['threshold']:.3f}" for w in report.windows[:2] for m in (w.natural, w.balanced)
    }
    assert set(re.findall(r"score ≥ ([\d.]+)", source)) == thresholds
