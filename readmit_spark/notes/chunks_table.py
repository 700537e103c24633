"""Chunks: documents are cleaned, cut and tokenised in Python workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Chunk
from readmit_spark.notes.chunk import token_chunks, word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.schemas import struct_type

_CHUNK = struct_type(chunk_index=T.IntegerType(), text=T.StringType(), n_words=T.IntegerType())
_ENCODED = struct_type(
    input_ids=T.ArrayType(T.IntegerType()), n_tokens=T.IntegerType(), n_tokens_cut=T.IntegerType()
)


def chunk_rows(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """Build the rows of the `chunks` table (docs/tables.md), and n_notes, from `documents_table`.

    A document too short for a chunk has one row, with a null chunk_index.
    """
    rows = _cut_rows(documents, chunk, tokenizer)
    return rows.withColumn("encoded", _encode(tokenizer)("text")).select(
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


def chunks_table(rows: DataFrame) -> DataFrame:
    """Build the `chunks` table (docs/tables.md) from `chunk_rows`."""
    return rows.where(F.col("chunk_index").isNotNull()).drop("n_notes")


def document_facts(rows: DataFrame) -> DataFrame:
    """Build window, subject_id, hadm_id, n_notes, n_chunks: one row per document."""
    return rows.groupBy("window", "subject_id", "hadm_id").agg(
        F.first("n_notes").alias("n_notes"), F.count("chunk_index").alias("n_chunks")
    )


def cut(cleaned: str, chunk: Chunk, tokenizer: ChunkTokenizer) -> list[str]:
    """Cut a cleaned document into chunks, by `chunk.mode`.

    Only tokens mode needs segments: in words mode their limits would change nothing.
    """
    if chunk.mode == "words":
        return word_chunks(cleaned, chunk.words, chunk.min_tail_words)
    return token_chunks(segment(cleaned), tokenizer.count, tokenizer.budget, chunk.min_tail_words)


def _cut_rows(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """Replace each document's text by chunk_index, text and n_words of its chunks.

    There is one row per chunk; a document without a chunk has one row of nulls.
    """
    # Rows are built in Arrow: Spark's explode would copy the texts once more.
    kept = [name for name in documents.columns if name != "text"]
    schema = T.StructType([*(documents.schema[name] for name in kept), *_CHUNK])

    def cut_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts_of = [cut(clean(text), chunk, tokenizer) for text in batch["text"].to_pylist()]
            yield _rows(batch.select(kept), texts_of)

    return documents.mapInArrow(cut_batches, schema)


def _rows(documents: pa.RecordBatch, texts_of: list[list[str]]) -> pa.RecordBatch:
    """Repeat each document's columns for each of its chunks; once, with nulls, without a chunk."""
    chunks: list[tuple[int | None, str | None, int | None]] = []
    parents = []
    for row, texts in enumerate(texts_of):
        cells = [(i, text, text.count(" ") + 1) for i, text in enumerate(texts)]
        chunks += cells or [(None, None, None)]
        parents += [row] * max(1, len(texts))
    index, text, words = zip(*chunks, strict=True) if chunks else ((), (), ())
    return pa.RecordBatch.from_arrays(
        [
            *documents.take(pa.array(parents, pa.int64())).columns,
            pa.array(index, pa.int32()),
            pa.array(text, pa.string()),
            pa.array(words, pa.int32()),
        ],
        [*documents.schema.names, *_CHUNK.names],
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
                "input_ids": [e.input_ids for e in encoded],
                "n_tokens": [len(e.input_ids) for e in encoded],
                "n_tokens_cut": [e.n_cut for e in encoded],
            }
        )

    return encode_chunks
