"""Chunks: documents are cleaned, cut and tokenised in Python workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.text_udfs import chunks_of
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.schemas import struct_type

_ENCODED = struct_type(
    n_words=T.IntegerType(),
    input_ids=T.ArrayType(T.IntegerType()),
    n_tokens=T.IntegerType(),
    n_tokens_cut=T.IntegerType(),
)


def chunk_rows(documents: DataFrame, preparation: Preparation) -> DataFrame:
    """Build the rows of the `chunks` table (docs/tables.md), and n_notes, from `documents_table`.

    A document too short for a chunk has one row, with a null chunk_index.
    """
    kept = [name for name in documents.columns if name != "text"]
    cut = documents.withColumn("chunks", chunks_of("text", preparation))
    rows = cut.select(*kept, F.posexplode_outer("chunks").alias("chunk_index", "text"))
    return rows.withColumn("encoded", _encode(preparation.tokenizer)("text")).select(
        "window",
        "subject_id",
        "hadm_id",
        "chunk_index",
        "text",
        "encoded.n_words",
        "encoded.input_ids",
        "encoded.n_tokens",
        "encoded.n_tokens_cut",
        "label",
        "split",
        "n_notes",
    )


def chunks_table(rows: DataFrame) -> DataFrame:
    """Build the `chunks` table (docs/tables.md) from `chunk_rows`."""
    return with_digest(rows.where(F.col("chunk_index").isNotNull()).drop("n_notes"))


def with_digest(chunks: DataFrame) -> DataFrame:
    """Add `digest`: 64 hex digits, the SHA-256 of the token ids."""
    return chunks.withColumn("digest", F.sha2(F.col("input_ids").cast("string"), 256))


def document_facts(rows: DataFrame) -> DataFrame:
    """Build window, subject_id, hadm_id, n_notes, n_chunks: one row per document."""
    return rows.groupBy("window", "subject_id", "hadm_id").agg(
        F.first("n_notes").alias("n_notes"), F.count("chunk_index").alias("n_chunks")
    )


def _encode(tokenizer: ChunkTokenizer) -> Callable[..., Any]:
    @F.pandas_udf(_ENCODED)
    def encode_chunks(column: pd.Series) -> pd.DataFrame:
        # Windows of one admission share their first chunks, and are adjacent here. Python compares
        # the texts: pandas' factorize ignores what follows a NUL.
        texts = column.fillna("").tolist()
        distinct = list(dict.fromkeys(texts))
        encoded_by_text = dict(zip(distinct, tokenizer.encode(distinct), strict=True))
        encoded = [encoded_by_text[text] for text in texts]
        return pd.DataFrame(
            {
                "n_words": [text.count(" ") + 1 for text in texts],
                "input_ids": [e.input_ids for e in encoded],
                "n_tokens": [len(e.input_ids) for e in encoded],
                "n_tokens_cut": [e.n_cut for e in encoded],
            }
        )

    return encode_chunks
