"""The page of explanations: segments, places and the strongest words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from readmit_spark.insight.explain_page import Explained, Place, explained_of, render_explain
from tests.html_page import Page


def word(
    attribution: float, segment: int, *places: tuple[int, int, int], read: bool = True
) -> dict[str, Any]:
    return {
        "attribution": attribution,
        "read": read,
        "segment": segment,
        "text": None,
        "places": [
            {"row_id": note, "category": f" Nursing{note} ", "start": start, "end": end}
            for note, start, end in places
        ],
    }


@pytest.fixture
def explained() -> Explained:
    """Make two segments; the first continues from note 7 into note 8."""
    words = [
        word(0.5, 3, (7, 90, 94)),
        word(-0.25, 3, (7, 95, 99)),
        word(0.125, 3, (8, 0, 6)),
        word(-2.0, 4, (8, 30, 36), (8, 38, 40)),
        word(1.0, 4, (8, 10, 20)),
    ]
    chunks = [{"probability": 0.2, "adds": 0.1}, {"probability": 0.8, "adds": 0.4}]
    return explained_of(
        {"subject_id": 1, "hadm_id": 11, "score": 0.5, "chunks": chunks, "driving_chunk": 1,
         "logit": 1.0, "baseline": 1.625, "error": 0.0, "steps": 32, "complete": True,
         "deletion": None, "words": words}
    )  # fmt: skip


def test_a_segment_is_the_sum_of_its_words_and_spans_them_in_each_note(
    explained: Explained,
) -> None:
    first, second = explained.segments
    assert (first.number, first.attribution) == (1, 0.375)
    assert first.places == [Place(7, "Nursing7", 90, 99), Place(8, "Nursing8", 0, 6)]
    assert (second.number, second.attribution) == (2, -1.0)
    assert second.places == [Place(8, "Nursing8", 10, 40)]
    assert [segment.number for segment in explained.top_segments] == [1, 2]
    total = sum(segment.attribution for segment in explained.segments)
    assert total == pytest.approx(explained.logit - explained.baseline)


def test_words_are_sorted_by_how_much_they_raise_and_lower(explained: Explained) -> None:
    assert [w.number for w in explained.strongest] == [5, 1, 3]
    assert [w.number for w in explained.lowering] == [4, 2]
    assert [w.strength for w in explained.words] == [0.25, -0.125, 0.0625, -1.0, 0.5]


def test_chunks_share_the_score(explained: Explained) -> None:
    assert [chunk.share for chunk in explained.chunks] == pytest.approx([0.2, 0.8])
    assert explained.driving is explained.chunks[1]


def page_of(explained: Explained) -> Page:
    page = Page(render_explain([explained], "any", "somewhere", 2.0, None))
    assert not page.open
    return page


@pytest.mark.parametrize(
    ("beaten", "chance", "unclear"),
    ((0.0, True, False), (0.5, True, False), (0.55, False, True), (0.9, False, True),
     (0.95, False, False), (1.0, False, False)),
)  # fmt: skip
def test_the_page_states_how_clear_the_deletion_test_is(
    explained: Explained, beaten: float, chance: bool, unclear: bool
) -> None:
    deletion = {"removed": 1, "strongest": 0.5, "random": 0.25, "beaten": beaten}
    text = page_of(replace(explained, deletion=deletion)).text
    assert ("no better than chance" in text) == chance
    assert ("Not clearly more than random words" in text) == unclear
    if unclear:
        assert f"they beat {100 * beaten:.0f}" in text


def test_unread_words_differ_from_neutral_words(explained: Explained) -> None:
    assert explained.unread == 0
    assert "did not read" not in page_of(explained).text
    shown = [replace(w, text=f"word{w.number}") for w in explained.words]
    neutral = replace(shown[2], attribution=0.0, strength=0.0)
    cut = [replace(w, attribution=0.0, strength=0.0, read=False) for w in shown[3:]]
    some = replace(
        explained,
        words=[*shown[:2], neutral, *cut],
        segments=[explained.segments[0], replace(explained.segments[1], words=cut)],
    )
    page = page_of(some)
    assert "did not read 2 of the 5 words" in page.text
    marked = [span for span in page.all("span") if span.get("class") == "unread"]
    assert [span["title"] for span in marked] == [
        "not read; Nursing8, note 8, 30\N{EN DASH}36; Nursing8, note 8, 38\N{EN DASH}40",
        "not read; Nursing8, note 8, 10\N{EN DASH}20",
    ]
    assert sum((span.get("title") or "").startswith("+0.000") for span in page.all("span")) == 1
    assert [segment.number for segment in some.top_segments] == [1]
    bare = page_of(replace(some, words=[replace(w, text=None) for w in some.words])).text
    assert "did not read 2 of the 5 words" in bare and "Struck through" not in bare
