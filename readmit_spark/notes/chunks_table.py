"""Chunks: documents cleaned, cut and tokenised in Python; the GPU's work starts behind."""

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

_CUT = T.StructType(
    [
        T.StructField("chunk_index", T.IntegerType()),
        T.StructField("text", T.StringType()),
        T.StructField("n_words", T.IntegerType()),
    ]
)
_ENCODED = T.StructType(
    [
        T.StructField("input_ids", T.ArrayType(T.IntegerType())),
        T.StructField("n_tokens", T.IntegerType()),
        T.StructField("n_tokens_cut", T.IntegerType()),
    ]
)


def chunk_rows(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """Make the rows of the `chunks` table (docs/tables.md), with n_notes.

    A document that is too short for a chunk has one row with a null chunk_index."""
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
    """The `chunks` table (docs/tables.md) from `chunk_rows`."""
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


def _cut_rows(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """Documents with chunk_index, text and n_words of each chunk, a row a chunk; nulls where there
    is none. Rows are made in Arrow: an array of texts that Spark explodes is copied once more."""
    kept = [name for name in documents.columns if name != "text"]
    schema = T.StructType([*(documents.schema[name] for name in kept), *_CUT])

    def cut_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pieces = [cut(clean(text), chunk, tokenizer) for text in batch["text"].to_pylist()]
            yield _rows(batch.select(kept), pieces)

    return documents.mapInArrow(cut_batches, schema)


def _rows(documents: pa.RecordBatch, pieces: list[list[str]]) -> pa.RecordBatch:
    """Each document's columns beside each of its pieces."""
    # A document without a piece has one row all the same, of nulls.
    found: list[tuple[int | None, str | None, int | None]] = []
    parents = []
    for row, texts in enumerate(pieces):
        cells = [(i, text, text.count(" ") + 1) for i, text in enumerate(texts)]
        found += cells or [(None, None, None)]
        parents += [row] * max(1, len(texts))
    index, text, words = zip(*found, strict=True) if found else ((), (), ())
    return pa.RecordBatch.from_arrays(
        [
            *documents.take(pa.array(parents, pa.int64())).columns,
            pa.array(index, pa.int32()),
            pa.array(text, pa.string()),
            pa.array(words, pa.int32()),
        ],
        [*documents.schema.names, *_CUT.names],
    )


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
