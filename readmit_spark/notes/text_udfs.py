"""Cleaning, segmentation and chunking in Spark, as three pandas UDFs.

Spark evaluates a chain of pandas UDFs of one argument in one pass through Python. What is between
them stays in the worker. Each is one pure function for each text.
"""

from __future__ import annotations

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.segment import segment as segment_text

_TEXTS = T.ArrayType(T.StringType())


def chunks_of(text: str, preparation: Preparation) -> Column:
    """Return the array of chunks of the documents in the column `text`."""
    cleaned = clean(preparation)(text)
    in_words = preparation.rules.mode == "words"
    return chunk(preparation)(cleaned if in_words else segment()(cleaned))


def clean(preparation: Preparation):  # type: ignore[no-untyped-def]
    """Return a UDF that cleans a text."""

    @F.pandas_udf(T.StringType())
    def clean(texts: pd.Series) -> pd.Series:
        return texts.map(preparation.clean)

    return clean


def segment():  # type: ignore[no-untyped-def]
    """Return a UDF that splits a cleaned text into segments."""

    @F.pandas_udf(_TEXTS)
    def segment(cleaned: pd.Series) -> pd.Series:
        return cleaned.map(segment_text)

    return segment


def chunk(preparation: Preparation):  # type: ignore[no-untyped-def]
    """Return a UDF that makes chunks of segments, or in words mode of a cleaned text."""
    cut = preparation.cut_words if preparation.rules.mode == "words" else preparation.cut_segments

    @F.pandas_udf(_TEXTS)
    def chunk(texts: pd.Series) -> pd.Series:
        return texts.map(cut)

    return chunk
