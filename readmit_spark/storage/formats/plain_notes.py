"""Notes whose RTF and HTML become plain text."""

from __future__ import annotations

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.storage.formats.markup import plain_text
from readmit_spark.storage.formats.shape import FORM
from readmit_spark.storage.text_forms import form_of


def with_form(notes: DataFrame) -> DataFrame:
    """Add FORM where the format does not say it, by the beginning of each text."""
    known = F.col(FORM) if FORM in notes.columns else F.lit(None)
    return notes.withColumn(FORM, F.coalesce(known, form_of(F.col("TEXT"))))


def as_plain() -> Column:
    """Return TEXT, made plain by its FORM."""
    marked = F.when(F.col(FORM).isNotNull(), F.col("TEXT"))  # Python gets no others
    return F.coalesce(_plain()(marked, F.col(FORM)), F.col("TEXT"))


def _plain():  # type: ignore[no-untyped-def]
    @F.pandas_udf(T.StringType())
    def plain(texts: pd.Series, forms: pd.Series) -> pd.Series:
        pairs = zip(texts, forms, strict=True)
        return pd.Series([None if text is None else plain_text(text, form) for text, form in pairs])

    return plain
