"""RTF and HTML become the text that a reader sees, and none makes the reading fail or hang."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readmit_spark.storage.formats.markup import HTML, RTF, html_text, plain_text, rtf_text
from tests.nasty_texts import NASTY_TEXTS
from tests.shapes import as_rtf

SECONDS = 10.0  # on a busy machine; minutes where a text is searched again and again


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"{\rtf1\ansi K 4.5}", "K 4.5"),
        (r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 one\par two\tab x\line y}", "one\ntwo\tx\ny"),
        (r"{\rtf1 {\b bold} {\*\generator Riched20;}\{a\}\\}", r"bold {a}" + "\\"),
        (r"{\rtf1\ansi\ansicpg1252 Caf\'e9 \u8364? \u-10179?\u-8704?}", "Café € \U0001f600"),
        (r"{\rtf1 first}{\rtf1 second}", "first\nsecond"),  # joined lines
        (r"{\rtf1 {\b unclosed", "unclosed"),
        (r"{\rtf1 \u99999999? x}", r"{\rtf1 \u99999999? x}"),  # is no character
    ],
)
def test_rtf(rtf: str, text: str) -> None:
    assert rtf_text(rtf) == text


@given(st.text("ab {}\\\n\té€\U0001f600", max_size=40))
def test_text_written_as_rtf_is_read_again(text: str) -> None:
    assert rtf_text(as_rtf(text)) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>K <b>4.5</b>\n &lt; 5<br/>Na&nbsp;&#233;</p>", "K 4.5 < 5\nNa\xa0é"),
        ("<html><head><title>Note</title><style>p{}</style></head><body>x", "Note\nx"),
        ("<script>var a = '<p>x</p>';</script><!-- no --><h1>Plan</h1>rest", "Plan\nrest"),
        ("<ul><li>one<li>two</ul><table><tr><td>a<td>b<tr><th>c</table>", "one\ntwo\na b\nc"),
        ("<pre>WBC   7.1\n  Hgb  12</pre> a  b", "WBC   7.1\nHgb  12\na b"),
        ('<p title="a > b">x</p> p <0.05 & y', "x\np <0.05 & y"),
        ("<b>bold</b>er", "bolder"),
        ("<p>a<![if !vml]>b<![endif]>c<![[**x**]>d</p>", "abcd"),
        ("<p>cut off <b", "cut off <b"),
    ],
)
def test_html(html: str, text: str) -> None:
    assert html_text(html) == text


UNITS = {
    HTML: ["<", "<a", "<a ", "<a b='", "</", "<!--", "<!", "<?", "<![CDATA[", "&", "&#", "<a>",
           "<script>", '<a"', "<a href=x ", "<pre>", "<p>x</p>", "-->", "x"],
    RTF: ["{", "}", "\\", "\\'e9", "\\u8364?", "{\\b ", "\\par ", "{\\field{\\*\\fldinst{",
          "\\pict\\bin5", "{\\fonttbl", "x"],
}  # fmt: skip


@pytest.mark.parametrize(("form", "unit"), [(f, u) for f, units in UNITS.items() for u in units])
def test_a_long_text_takes_little_time(form: str, unit: str) -> None:
    start = {HTML: "<p>", RTF: "{\\rtf1 "}[form]
    for end in ("", ">", "}"):
        before = time.perf_counter()
        plain_text(start + unit * (100_000 // len(unit)) + end, form)
        assert time.perf_counter() - before < SECONDS


def test_no_text_fails() -> None:
    draw = random.Random(5)
    pieces = [*UNITS[HTML], *UNITS[RTF], *"\x00\ud83d\u2028\n;'\"", *dict(NASTY_TEXTS).values()]
    for _ in range(300):
        text = "".join(draw.choices(pieces, k=draw.randrange(1, 30)))[:5_000]
        text = text.encode("utf-8", "replace").decode()  # as Spark reads it
        for form in (HTML, RTF):
            plain_text(text, form).encode()  # and as it writes it
