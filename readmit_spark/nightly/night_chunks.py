"""The chunks of a night. Unchanged documents and equal chunks are reused from earlier nights.

A row holds no text and no token ids: only digests, counts, passages and the probability. A later
night needs nothing else of this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.notes.passage_rows import passage_rows
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.provenance import document, passages
from readmit_spark.storage.output_tables import NIGHTLY

CHUNKS = NIGHTLY["chunks"].schema
# The chunks of new documents before they are scored. A document too short for a chunk has one row,
# with a null chunk_index.
_PREPARED = T.StructType(
    [
        *(CHUNKS[name] for name in (
            "document", "chunk_index", "n_tokens", "n_tokens_cut", "n_unknown", "passages")),
        T.StructField("input_ids", T.ArrayType(T.IntegerType())),
    ]
)  # fmt: skip
REUSED = ("document", "chunk_index", "digest", "n_tokens", "n_tokens_cut", "n_unknown", "passages")


def prepare_documents(documents: DataFrame, preparation: Preparation) -> DataFrame:
    """Cut documents into chunks: the columns of `REUSED`, and input_ids.

    documents: from `in_house.document_notes`.
    """

    def prepare_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(_PREPARED)
        for batch in batches:
            rows = [row for doc in batch.to_pylist() for row in _prepare(doc, preparation)]
            yield pa.RecordBatch.from_pylist(rows, schema)

    # Admissions with exactly the same notes share a document.
    distinct = documents.dropDuplicates(["document"])
    prepared = distinct.mapInArrow(prepare_batches, _PREPARED)
    return with_digest(prepared).select(*REUSED, "input_ids")


def _prepare(row: dict[str, Any], preparation: Preparation) -> Iterator[dict[str, Any]]:
    """Yield the rows of `_PREPARED` for one document."""
    texts = [note["text"] for note in row["notes"]]
    chunks = preparation.cut(preparation.clean(document(texts)))
    if not chunks:
        yield {"document": row["document"]}
    tokenizer = preparation.tokenizer
    encoded = tokenizer.encode(chunks)
    places_of = passages(texts, chunks, preparation.rules.cleaning)
    for index, (tokens, places) in enumerate(zip(encoded, places_of, strict=True)):
        yield {
            "document": row["document"],
            "chunk_index": index,
            "n_tokens": len(tokens.input_ids),
            "n_tokens_cut": tokens.n_cut,
            "n_unknown": tokens.input_ids.count(tokenizer.unknown_id),
            "passages": passage_rows(places, row["notes"]),
            "input_ids": tokens.input_ids,
        }


@dataclass(frozen=True)
class EarlierChunks:
    """The chunks and probabilities of earlier nights that this night can reuse.

    chunks: the columns of `REUSED`, and probability (null if unknown); all rows of a document or
    none. scores: digest, probability.
    """

    chunks: DataFrame
    scores: DataFrame


def earlier_chunks(
    nights: DataFrame, documents: DataFrame, preparation: str, model: str
) -> EarlierChunks:
    """Select what this night can reuse: chunks of the same preparation of tonight's `documents`,
    probabilities of the same model.

    nights: the `chunks` tables of earlier nights, and `night`, which sorts by time.
    """
    prepared = nights.where(F.col("preparation") == preparation).join(
        F.broadcast(documents.select("document").distinct()), "document", "left_semi"
    )
    scores = (
        nights.where((F.col("model") == model) & F.col("probability").isNotNull())
        .groupBy("digest")
        .agg(F.max_by("probability", "night").alias("probability"))
    )
    # Each night holds all chunks of a document, so the rows of one night are enough.
    newest = F.max("night").over(Window.partitionBy("document"))
    chunks = (
        prepared.withColumn("newest", newest)
        .where("night = newest")
        .select(*REUSED)
        .dropDuplicates(["document", "chunk_index"])
        .join(scores, "digest", "left")
    )
    return EarlierChunks(chunks.select(*REUSED, "probability"), scores)


def to_prepare(documents: DataFrame, earlier: DataFrame) -> DataFrame:
    """Select tonight's documents that are new or have an earlier chunk without a probability.

    earlier: the chunks of `EarlierChunks`.
    """
    unscored = F.max(F.col("digest").isNotNull() & F.col("probability").isNull())
    reusable = earlier.groupBy("document").agg(unscored.alias("unscored")).where("not unscored")
    return documents.join(reusable, "document", "left_anti")


def night_chunks(
    earlier: DataFrame, prepared: DataFrame, new_scores: DataFrame, preparation: str, model: str
) -> DataFrame:
    """Build the `chunks` table of the night, with the columns of `CHUNKS`.

    earlier: the chunks of `EarlierChunks`. prepared: the columns of `REUSED`, and probability; it
    replaces earlier chunks of the same document. new_scores: digest, probability of the prepared
    chunks without one.
    """
    new = prepared.join(
        new_scores.withColumnRenamed("probability", "new_probability"), "digest", "left"
    ).withColumn("probability", F.coalesce("probability", "new_probability"))
    reused = earlier.join(prepared.select("document").distinct(), "document", "left_anti")
    return (
        reused.unionByName(new.select(*reused.columns))
        .withColumn("preparation", F.lit(preparation))
        .withColumn("model", F.lit(model))
        .select(*CHUNKS.names)
    )
