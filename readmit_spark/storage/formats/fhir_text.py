"""The text of a FHIR attachment."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

# Why an attachment has no text here. Attachments of a note are alternatives, not parts.
_NONE, _OTHER, _ELSEWHERE, _DAMAGED, _CHARSET = (
    "no_attachment",
    "attachment_of_another_type",
    "attachment_elsewhere",
    "attachment_damaged",
    "attachment_in_another_charset",
)
TEXT_REASONS = (_NONE, _OTHER, _ELSEWHERE, _DAMAGED, _CHARSET)

# The types that are read, the best first. HTML is marked as such by later jobs.
_TYPES = ("text/plain", "text/html", "application/xhtml+xml")
_UTF8 = ("", "utf-8", "utf8", "us-ascii", "ascii")
_LATIN = ("iso-8859-1", "latin1", "iso_8859-1")


def text_of(attachments: Column) -> Column:
    """Return a struct of text, and the reason if there is none, of the best attachment."""
    chosen = _best(attachments)
    charset = F.lower(F.regexp_extract(chosen["contentType"], r"(?i)charset=\"?([\w-]+)", 1))
    # In one line, as base64 of mail is not.
    stored = F.try_to_binary(F.regexp_replace(chosen["data"], r"\s", ""), F.lit("base64"))
    text = F.when(charset.isin(*_UTF8), stored.cast("string")).when(
        charset.isin(*_LATIN), F.decode(stored, "ISO-8859-1")
    )
    reason = (
        F.when(F.coalesce(F.size(attachments), F.lit(0)) <= 0, _NONE)
        .when(chosen.isNull(), _OTHER)
        .when(chosen["data"].isNull(), _ELSEWHERE)
        .when(stored.isNull(), _DAMAGED)
        .when(~charset.isin(*_UTF8, *_LATIN), _CHARSET)
    )
    return F.struct(text.alias("text"), reason.alias("reason"))


def _best(attachments: Column) -> Column:
    return F.coalesce(*(F.get(_of_type(attachments, kind), F.lit(0)) for kind in _TYPES))


def _of_type(attachments: Column, kind: str) -> Column:
    def has_type(attachment: Column) -> Column:
        return F.lower(F.trim(F.substring_index(attachment["contentType"], ";", 1))) == kind

    return F.filter(attachments, has_type)
