"""Read the ids of patients, admissions and notes.

An id is a whole number of 64 bits and either sign. With `data.ids=text` it may be a text, for which
a hash of 64 bits stands (`text_ids.py`).
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

_WHOLE = r"^([+-]?)0*(\d{1,19})(\.0*)?$"
_SPELLED = r"^(0|-?[1-9]\d{0,18})$"  # the one spelling of a number: 007 is another id than 7
# It begins with a letter or digit, so no spreadsheet takes it for a formula.
_TEXT = r"^(-\d{1,19}|[\p{L}\p{N}][^\p{C}\p{Zl}\p{Zp}]{0,63})$"
_DIGITS_LOST = r"^\d\.\d+[eE]\+?\d+$"  # a number that lost digits, such as 2.9E7


def whole_number(frame: DataFrame, name: str) -> Column:
    """Parse an id, also one written as 100001.0, as pandas does in columns with nulls.

    Null if the value is not a whole number of 64 bits.
    """
    if isinstance(frame.schema[name].dataType, T.IntegerType | T.LongType):
        return frame[name].cast("long")
    text = F.regexp_replace(frame[name].cast("string"), r"^[\s\u00a0]+|[\s\u00a0]+$", "")
    sign, digits = (F.regexp_extract(text, _WHOLE, group) for group in (1, 2))
    # In ANSI mode, the cast of an empty text would fail.
    return _of_64_bits(F.when(digits != "", F.concat(sign, digits)))


def id_text(text: Column) -> Column:
    """Return the form in which a text id counts, from the trimmed value: without the `.0` that
    pandas adds to whole numbers. Null if it is no id."""
    form = F.regexp_replace(text, r"^(\d+)\.0*$", "$1")
    return F.when(form.rlike(_TEXT) & ~form.rlike(_DIGITS_LOST), form)


def id_of_text(form: Column) -> Column:
    """Return the number that stands for a form of `id_text`: the number that it spells, or else its
    hash, which is the same on every machine and version of Spark."""
    number = _of_64_bits(F.when(form.rlike(_SPELLED), form))
    return F.coalesce(number, F.when(form.isNotNull(), F.xxhash64(form)))


def _of_64_bits(digits: Column) -> Column:
    """Return the number, or null if 64 bits do not hold it."""
    # A decimal holds 19 digits, so that no cast can fail.
    number = digits.cast("decimal(20,0)")
    fits = number.between(F.lit(-(2**63)).cast("decimal(20,0)"), F.lit(2**63 - 1))
    return F.when(fits, number).cast("long")
