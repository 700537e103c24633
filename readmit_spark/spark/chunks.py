"""Chunks: documents cleaned, cut and tokenised in pandas UDFs; the GPU's work starts behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Chunk
from readmit_spark.core.chunk import token_chunks, word_chunks
from readmit_spark.core.clean import clean
from readmit_spark.core.segment import segment
from readmit_spark.core.tokenizer import ChunkTokenizer

_ENCODED = T.StructType(
    [
        T.StructField("input_ids", T.ArrayType(T.IntegerType())),
        T.StructField("n_tokens", T.IntegerType()),
        T.StructField("n_tokens_cut", T.IntegerType()),
    ]
)


def chunk_rows(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """The rows of the contract's `chunks` table, with n_notes; a document that is too short for a
    chunk has one row with a null chunk_index."""
    cut = documents.select(
        *(name for name in documents.columns if name != "text"),
        F.posexplode_outer(_split(chunk, tokenizer)(_clean()("text"))).alias("chunk_index", "text"),
    )
    return (
        cut.withColumn("encoded", _encode(tokenizer)("text"))
        .withColumn("n_words", F.when(F.col("text").isNotNull(), F.size(F.split("text", " "))))
        .select(
            "window",
            "subject_id",
            "hadm_id",
            "chunk_index",
            "text",
            "n_words",
            "encoded.input_ids",
            "encoded.n_tokens",
            "encoded.n_tokens_cut",
            "label",
            "split",
            "n_notes",
        )
    )


def chunks_table(rows: DataFrame) -> DataFrame:
    """The contract's `chunks` table from `chunk_rows`."""
    return rows.where(F.col("chunk_index").isNotNull()).drop("n_notes")


def document_facts(rows: DataFrame) -> DataFrame:
    """window, subject_id, hadm_id, n_notes, n_chunks: one row a document, without its text."""
    return rows.groupBy("window", "subject_id", "hadm_id").agg(
        F.first("n_notes").alias("n_notes"), F.count("chunk_index").alias("n_chunks")
    )


def cut(cleaned: str, chunk: Chunk, tokenizer: ChunkTokenizer) -> list[str]:
    """The chunks of a cleaned document, by `chunk.mode`.

    Segments decide nothing in words mode (their words, in order, are the text's), so only tokens
    mode makes them.
    """
    if chunk.mode == "words":
        return word_chunks(cleaned, chunk.words, chunk.min_tail_words)
    return token_chunks(segment(cleaned), tokenizer.count, tokenizer.budget, chunk.min_tail_words)


def _clean() -> Callable[..., Any]:
    @F.pandas_udf(T.StringType())
    def clean_text(text: pd.Series) -> pd.Series:
        return text.map(clean)

    return clean_text


def _split(chunk: Chunk, tokenizer: ChunkTokenizer) -> Callable[..., Any]:
    @F.pandas_udf(T.ArrayType(T.StringType()))
    def split_text(text: pd.Series) -> pd.Series:
        return text.map(lambda one: cut(one, chunk, tokenizer))

    return split_text


def _encode(tokenizer: ChunkTokenizer) -> Callable[..., Any]:
    @F.pandas_udf(_ENCODED)
    def encode_chunks(text: pd.Series) -> pd.DataFrame:
        # The first chunks of an admission's windows are the same, and stand side by side here.
        # (Told apart by Python: pandas' factorize takes texts for equal that are so up to a NUL.)
        texts = text.fillna("").tolist()
        distinct = list(dict.fromkeys(texts))
        once = dict(zip(distinct, tokenizer.encode(distinct), strict=True))
        encoded = [once[one] for one in texts]
        return pd.DataFrame(
            {
                "input_ids": [e.input_ids for e in encoded],
                "n_tokens": [len(e.input_ids) for e in encoded],
                "n_tokens_cut": [e.n_cut for e in encoded],
            }
        )

    return encode_chunks
