"""The text of a FHIR attachment."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.storage.formats.markup import HTML, RTF
from readmit_spark.storage.formats.shape import KEY, LEFT_OUT

# Why an attachment has no text here. Attachments of a note are alternatives, not parts.
_NONE, _OTHER, _ELSEWHERE, _DAMAGED, _CHARSET = (
    "no_attachment",
    "attachment_of_another_type",
    "attachment_elsewhere",
    "attachment_damaged",
    "attachment_in_another_charset",
)
_UNREADABLE = (_OTHER, _ELSEWHERE, _DAMAGED, _CHARSET)  # there is a note, and no text of it
TEXT_REASONS = (_NONE, _OTHER, _ELSEWHERE, _DAMAGED, _CHARSET)

# The types that are read, the best first, with the form that makes plain text of them.
_TYPES = {
    "text/plain": None,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "text/rtf": RTF,
    "application/rtf": RTF,
}
_UTF8 = ("", "utf-8", "utf8", "us-ascii", "ascii")
_LATIN = ("iso-8859-1", "latin1", "iso_8859-1")


def check_readable(tables: Mapping[str, DataFrame], config: Config) -> None:
    """Raise a UserError if more than half of the notes with an attachment have none that is read:
    what is left would look like all notes."""
    counted = tables["notes"].groupBy(LEFT_OUT).count().collect()
    counts = {row[LEFT_OUT]: row["count"] for row in counted}
    unreadable = {reason: counts[reason] for reason in _UNREADABLE if reason in counts}
    lost, kept_notes = sum(unreadable.values()), counts.get(None, 0)
    if lost > kept_notes:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in unreadable.items())
        raise UserError(
            f"{KEY}: {lost:,} of {lost + kept_notes:,} notes have no attachment that is read "
            f"({reasons}): export them as plain text, HTML or RTF within the resource; nothing was "
            "published"
        )


def text_of(attachments: Column) -> Column:
    """Return a struct of the best attachment: text, its form, and the reason if there is none."""
    chosen = _best(attachments)
    form = F.lit(None).cast("string")
    for kind, name in _TYPES.items():
        form = F.when(_type(chosen) == kind, F.lit(name)).otherwise(form)
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
    return F.struct(text.alias("text"), form.alias("form"), reason.alias("reason"))


def _best(attachments: Column) -> Column:
    return F.coalesce(*(F.get(_of_type(attachments, kind), F.lit(0)) for kind in _TYPES))


def _of_type(attachments: Column, kind: str) -> Column:
    return F.filter(attachments, lambda attachment: _type(attachment) == kind)


def _type(attachment: Column) -> Column:
    return F.lower(F.trim(F.substring_index(attachment["contentType"], ";", 1)))
