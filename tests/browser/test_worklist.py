"""The worklist in a real browser: sorting, filtering, keyboard, paper, accessibility, speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any
from unicodedata import normalize

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from pypdf import PdfReader

from readmit_spark.nightly.worklist_page import render_worklist
from readmit_spark.nightly.worklist_types import Driver, Passage, Patient, Worklist
from tests.nights import alert, night

Show = Callable[..., Page]
NIGHT = night(40)
ALERTED = [p for p in NIGHT.patients if p.alert]


def ids(page: Page) -> list[int]:
    """Return the visible patients, in order."""
    rows = page.locator("#patients > tbody > tr:not(.details)")
    return rows.evaluate_all(
        "rows => rows.filter((it) => it.offsetHeight).map((it) => +it.cells[2].firstChild.data)"
    )


def expected(matches: Callable[[Patient], bool] = lambda _: True) -> list[int]:
    return [p.subject_id for p in NIGHT.patients if matches(p)]


def head(page: Page, key: str) -> Any:
    return page.locator(f"th[data-key={key}]")


def moved(p: Patient) -> float | None:
    return None if p.previous_score is None else p.score - p.previous_score


COLUMNS: dict[str, tuple[Callable[[Patient], float | None], str]] = {
    "rank": (lambda p: p.rank, "descending"),  # it is ascending at first
    "patient": (lambda p: p.subject_id, "ascending"),
    "day": (lambda p: p.day_of_stay, "descending"),
    "value": (lambda p: p.score, "descending"),
    "moved": (moved, "descending"),
    "newNotes": (lambda p: len(p.new_notes), "descending"),
    "share": (lambda p: p.drivers[0].share, "descending"),
}


def test_each_column_sorts_both_ways(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    for key, (value, first) in COLUMNS.items():
        other = "descending" if first == "ascending" else "ascending"
        for direction in (first, other):
            head(page, key).get_by_role("button").click()
            with_value = [p for p in NIGHT.patients if value(p) is not None]
            without_value = [
                p for p in NIGHT.patients if value(p) is None
            ]  # last in both directions
            # A stable sort: equal values stay in the order of the ranks.
            with_value.sort(key=value, reverse=direction == "descending")  # type: ignore[arg-type]
            assert ids(page) == [p.subject_id for p in with_value + without_value], (key, direction)
            assert head(page, key).get_attribute("aria-sort") == direction
            assert page.locator("th[aria-sort]:not([aria-sort=none])").count() == 1
            assert page.get_by_role("status").inner_text().endswith(f", {direction}.")


def test_filters_alone_together_and_reset(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    status = page.get_by_role("status")
    page.get_by_label("Alerted only").check()
    assert ids(page) == expected(lambda p: p.alert)
    assert status.inner_text() == f"{len(ALERTED)} of 40 patients, highest score first."
    page.get_by_label("Change").select_option("risen")
    assert ids(page) == expected(lambda p: p.alert and p.change == "risen")
    page.get_by_role("button", name="Show all").click()
    assert ids(page) == expected()
    assert status.inner_text() == "40 patients, highest score first."
    page.get_by_label("Score at least").fill("0.3")
    assert ids(page) == expected(lambda p: p.score >= 0.3)
    page.get_by_label("Score at least").fill("")
    page.get_by_label("Patient or admission").fill(" 15018 ")  # part of an admission number
    assert ids(page) == expected(lambda p: "15018" in f"{p.subject_id} {p.hadm_id}") != []
    page.get_by_label("Patient or admission").fill("nobody")
    assert ids(page) == []
    assert status.inner_text() == "No patient matches the filters. “Show all” resets them."


def test_details_show_passages_and_every_night(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    patient = NIGHT.patients[1]
    button = page.get_by_role("button", name=f"Details of patient {patient.subject_id},")
    button.click()
    details = page.locator(".details")
    # Rows are laid out once they are on the screen, and have no text until then.
    page.wait_for_function("document.querySelector('.details').innerText.trim() !== ''")
    text = " ".join(details.inner_text().split())
    assert f"{patient.n_notes} notes, read as {patient.n_chunks} chunks" in text
    for driver in patient.drivers:
        assert f"{100 * driver.share:.1f} % {driver.probability:.3f}" in text
        for passage in driver.passages:
            where = f"{passage.start:,}\N{EN DASH}{passage.end:,}"
            assert f"{passage.row_id} {passage.category.strip()} {where}" in text
    for note in patient.new_notes:
        assert f"{note.row_id} {note.category.strip()} {note.written:%d %b, %H:%M}" in text
    scores = details.locator(".nights tbody td:nth-child(2)").all_inner_texts()
    assert scores == [f"{score:.3f}" for _, score in reversed(patient.history)]
    button.click()
    assert details.count() == 0


def test_details_move_and_hide_with_their_row(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    patient = next(p for p in NIGHT.patients if not p.alert)
    row = page.locator("#patients > tbody > tr", has_text=f"adm. {patient.hadm_id}")
    row.get_by_role("button").click()
    head(page, "patient").get_by_role("button").click()
    assert row.locator("xpath=following-sibling::tr[1]").get_attribute("class") == "details"
    page.get_by_label("Alerted only").check()
    assert not page.locator(".details").is_visible()
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".details").is_visible()


def focused(page: Page) -> str:
    """Return the name of the focused element; fails if it has no visible outline."""
    return page.evaluate(
        """() => {
          const it = document.activeElement, style = getComputedStyle(it);
          if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2)
            throw new Error("no outline around " + it.outerHTML);
          return it.name || it.getAttribute("aria-label") || it.innerText;
        }"""
    )


def tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page).startswith(name):
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def test_everything_works_with_the_keyboard(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    tab_to(page, "alert")
    page.keyboard.press("Space")
    assert ids(page) == expected(lambda p: p.alert)
    tab_to(page, "change")
    page.keyboard.press("ArrowDown")  # new
    assert ids(page) == expected(lambda p: p.alert and p.change == "new")
    tab_to(page, "id")
    tab_to(page, "minScore")
    tab_to(page, "Show all")
    page.keyboard.press("Enter")
    assert ids(page) == expected()
    tab_to(page, "Score")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the focus did not move
    assert ids(page) == expected()[::-1]
    lowest = f"Details of patient {NIGHT.patients[-1].subject_id}"
    tab_to(page, lowest)
    page.keyboard.press("Space")
    assert page.locator(".details").is_visible()
    assert page.locator("[aria-expanded=true]").get_attribute("aria-controls") == page.locator(
        ".details"
    ).get_attribute("id")
    tab_to(page, "Nights of patient")  # a long stay scrolls
    page.keyboard.press("Shift+Tab")
    assert focused(page).startswith(lowest)
    page.keyboard.press("Enter")
    assert page.locator(".details").count() == 0


def test_scripts_in_fields_do_not_run(show: Show) -> None:
    evil = "<img src=x onerror=hacked=1><script>hacked=1</script>\" onmouseover='hacked=1"
    passage = Passage(1, evil, 0, 9, text=f"</script><script>hacked=1</script>{evil}")
    first = replace(NIGHT.patients[0], drivers=[Driver(0, 0.9, 0.5, [passage])])
    patients = (first, *NIGHT.patients[1:])
    page = show(render_worklist(replace(NIGHT, patients=patients, facts={evil: evil})))
    page.locator("#patients > tbody button").first.click()
    page.locator(".details td", has_text=evil).first.hover()
    assert page.locator("blockquote").inner_text() == passage.text
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img").count() == 0


def test_the_policy_blocks_an_injected_script(browser: Any, tmp_path: Any) -> None:
    # The Content-Security-Policy must hold even if escaping fails.
    file = tmp_path / "worklist.html"
    injected = "<body><script>hacked = 1</script><b onclick='hacked = 1'>x</b>"
    file.write_text(render_worklist(NIGHT).replace("<body>", injected))
    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator("b", has_text="x").first.click()
    assert page.evaluate("typeof hacked") == "undefined"
    page.close()


def test_the_list_is_complete_without_javascript(show: Show) -> None:
    page = show(render_worklist(NIGHT), java_script_enabled=False)
    assert ids(page) == expected()
    assert page.locator("form, #patients button").filter(visible=True).count() == 0
    assert page.get_by_text("need JavaScript, which is turned off").is_visible()


def pdf(page: Page) -> list[str]:
    document = page.pdf(prefer_css_page_size=True, print_background=False)
    sheets = [sheet.extract_text() for sheet in PdfReader(BytesIO(document)).pages]
    return [" ".join(normalize("NFKC", text).split()) for text in sheets]  # ligatures to letters


def test_print_has_the_alerted_patients(show: Show) -> None:
    text = " ".join(pdf(show(render_worklist(NIGHT))))
    assert [p for p in NIGHT.patients if f"adm. {p.hadm_id}" in text] == ALERTED
    assert "Only patients with an alert are printed." in text


def test_places_filter_the_list(show: Show) -> None:
    wards = ["3  B", "5A"]
    placed = [
        replace(p, columns={"WARD": wards[i % 2]} if i % 3 else {})
        for i, p in enumerate(NIGHT.patients)
    ]
    page = show(render_worklist(replace(NIGHT, patients=placed, columns=("WARD",))))
    page.get_by_label("Ward").select_option("3  B")
    assert ids(page) == [p.subject_id for p in placed if p.columns.get("WARD") == "3  B"]
    page.get_by_role("button", name="Show all").click()
    assert len(ids(page)) == len(placed)


def test_print_of_everybody_has_every_patient_and_the_night_on_each_page(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    page.get_by_label("Print everybody").check()
    pages = pdf(page)
    text = " ".join(pages)
    assert all(f"adm. {p.hadm_id}" in text for p in NIGHT.patients)
    assert 2 < len(pages) < 7
    for number, sheet in enumerate(pages, 1):
        assert f"{number} / {len(pages)}" in sheet
        if "adm." in sheet:
            assert "Readmission worklist, 22 November 2026, 02:00 ·" in sheet
            assert "Driving chunk" in sheet
    assert "Alerted only" not in text and "Show" not in text


def test_print_leaves_out_filtered_rows_and_shows_their_number(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    page.get_by_label("Alerted only").check()
    text = " ".join(pdf(page))
    assert f"{len(ALERTED)} of 40 patients, highest score first." in text
    assert [p for p in NIGHT.patients if f"adm. {p.hadm_id}" in text] == ALERTED


@pytest.mark.parametrize(
    ("shown", "scheme"),
    [(night(12), "light"), (night(12), "dark"), (night(0), "light")],
    ids=["twelve", "twelve in the dark", "nobody"],
)
def test_accessibility_rules_hold(show: Show, shown: Worklist, scheme: str) -> None:
    page = show(render_worklist(shown), color_scheme=scheme, bypass_csp=True)  # so that axe can run
    if shown.patients:
        page.locator("#patients > tbody button").nth(1).click()
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()


def test_a_screen_reader_finds_a_table(show: Show) -> None:
    page = show(render_worklist(NIGHT))
    table = page.get_by_role("table", name="Patients in hospital")
    assert table.get_by_role("row").count() == 1 + len(NIGHT.patients)
    first = NIGHT.patients[0]
    row = table.get_by_role("row").nth(1)
    assert row.get_by_role("rowheader").inner_text().startswith(str(first.subject_id))
    assert row.get_by_role("cell").count() == 9
    assert row.get_by_role("img").get_attribute("aria-label").endswith(f"now {first.score:.3f}")
    assert table.get_by_role("columnheader").count() == 10


@pytest.mark.parametrize("width", [360, 768, 1024])
def test_narrow_screens_need_no_sideways_scrolling(show: Show, width: int) -> None:
    page = show(render_worklist(NIGHT), viewport={"width": width, "height": 800})
    page.locator("#patients > tbody button").nth(1).click()
    edges = page.locator("table, .details button, #patients > tbody button").evaluate_all(
        "found => found.map((it) => it.getBoundingClientRect().right)"
    )
    assert max(edges) <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Score", "Change"):
        assert page.get_by_role("button", name=name, exact=True).is_visible()


def test_two_thousand_patients_are_fast(show: Show) -> None:
    full = night(2000)
    page = show(render_worklist(full))
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    timed = """(selector) => {
      const it = document.querySelector(selector), start = performance.now();
      it.click();
      document.body.offsetHeight;  // forces the layout of the rows
      return performance.now() - start;
    }"""
    spent = {
        name: page.evaluate(timed, selector)
        for name, selector in {
            "sort": "th[data-key=value] button",
            "filter": "[name=alert]",
            "unfilter": "form button",
            "open": "#patients > tbody button",
        }.items()
    }
    # About ten times the time on an idle machine: this fails for a page that is slow by design, not
    # on a busy machine.
    assert loaded < 10_000, loaded
    assert max(spent.values()) < 3_000, spent


def test_a_night_with_one_patient_uses_the_singular(show: Show) -> None:
    one = night(1)
    one = replace(one, patients=(replace(one.patients[0], alert=True),), alert=alert(tonight=1))
    page = show(render_worklist(one))
    assert page.get_by_role("status").inner_text() == "1 patient, highest score first."
