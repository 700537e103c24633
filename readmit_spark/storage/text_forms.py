"""Find the texts that are not plain: RTF, HTML, and bytes that are not UTF-8.

`ingest` makes plain text of RTF and HTML in tables of other formats than MIMIC-III. What is left is
read as it is, so the words of its markup reach the model.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

# White space and byte order marks may come before.
_START = r"(?i)^[\s\u00a0\u200b\ufeff]*"
_TAGS = (
    "a|abbr|address|article|aside|b|big|blockquote|body|br|button|caption|center|code|col|colgroup|"
    "dd|del|div|dl|dt|em|fieldset|font|footer|form|frame|h[1-6]|head|header|hr|html|i|iframe|img|"
    "input|ins|kbd|label|legend|li|link|main|mark|meta|nav|ol|option|p|pre|q|s|samp|script|section|"
    "select|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|"
    "title|tr|tt|u|ul|var"
)
# Count -> (what the column `text` of such a note matches, words for a message). A tag ends or has
# an attribute: `<p 0.05` is a number.
_FORMS = {
    "text_rtf": (_START + r"\{\\rtf", "are RTF"),
    "text_html": (
        _START + rf"<(!doctype\b|!--|\?xml\b|/?({_TAGS})(\s*/?>|\s+[\w:-]+\s*=))",
        "are HTML",
    ),
}
_NOT_UTF8 = "text_not_utf8"
_WORDS = {name: words for name, (_, words) in _FORMS.items()}
_WORDS[_NOT_UTF8] = "have bytes that are not UTF-8"
_HEAD = 1000  # characters of a text in which its markup begins


def form_of(text: Column) -> Column:
    """Return `rtf`, `html`, or null for a text that begins as neither."""
    head = F.substring(text, 1, _HEAD)
    form = F.lit(None).cast("string")
    for name, (pattern, _) in _FORMS.items():
        form = F.when(head.rlike(pattern), name.removeprefix("text_")).otherwise(form)
    return form


def form_counts() -> list[Column]:
    """Return aggregates of the column `text` for `forms_line`: the notes of each form."""
    head = F.substring("text", 1, _HEAD)
    found = {name: head.rlike(pattern) for name, (pattern, _) in _FORMS.items()}
    found[_NOT_UTF8] = F.col("text").contains("\ufffd")
    return [F.count(F.when(is_such, 1)).alias(name) for name, is_such in found.items()]


def forms_line(key: str, counts: Mapping[str, int]) -> str | None:
    """Return a line on the texts that are not plain, or None if all are."""
    shown = [f"{counts[name]:,} {words}" for name, words in _WORDS.items() if counts[name]]
    if not shown:
        return None
    return f"{key}: notes that are no plain text: {', '.join(shown)}; markup is read as words"


def only_forms(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of `form_counts` alone."""
    return {name: counts[name] for name in _WORDS}
