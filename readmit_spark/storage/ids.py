"""Read the ids of patients, admissions and notes: whole numbers of 64 bits and either sign."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

_WHOLE = r"^([+-]?)0*(\d{1,19})(\.0*)?$"


def whole_number(frame: DataFrame, name: str) -> Column:
    """Parse an id, also one written as 100001.0, as pandas does in columns with nulls.

    Null if the value is not a whole number of 64 bits.
    """
    if isinstance(frame.schema[name].dataType, T.IntegerType | T.LongType):
        return frame[name].cast("long")
    text = F.regexp_replace(frame[name].cast("string"), r"^[\s\u00a0]+|[\s\u00a0]+$", "")
    sign, digits = (F.regexp_extract(text, _WHOLE, group) for group in (1, 2))
    # 19 digits may be more than 64 bits hold. A decimal holds them, so that no cast can fail.
    # In ANSI mode, the cast of an empty text would fail.
    number = F.when(digits != "", F.concat(sign, digits)).cast("decimal(20,0)")
    fits = number.between(F.lit(-(2**63)).cast("decimal(20,0)"), F.lit(2**63 - 1))
    return F.when(fits, number).cast("long")
