"""The chunks of a night: those of unchanged documents and equal chunks come from earlier nights.

A chunk's row holds no text and no token ids: digests, counts, where its words stand in the notes,
and its probability. These rows are all that a later night needs of this one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from readmit_spark.config import Chunk
from readmit_spark.notes.chunks_table import cut
from readmit_spark.notes.clean import clean
from readmit_spark.notes.provenance import document, passages
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.score_chunks import with_digest

PASSAGE = T.StructType(
    [
        T.StructField("row_id", T.LongType()),
        T.StructField("category", T.StringType()),
        T.StructField("start", T.IntegerType()),
        T.StructField("end", T.IntegerType()),
    ]
)
# chunk_index is null in the one row of a document that is too short for a chunk.
_PREPARED = T.StructType(
    [
        T.StructField("document", T.StringType()),
        T.StructField("chunk_index", T.IntegerType()),
        T.StructField("n_tokens", T.IntegerType()),
        T.StructField("n_tokens_cut", T.IntegerType()),
        T.StructField("n_unknown", T.IntegerType()),
        T.StructField("passages", T.ArrayType(PASSAGE)),
        T.StructField("input_ids", T.ArrayType(T.IntegerType())),
    ]
)
KEPT = ("document", "chunk_index", "digest", "n_tokens", "n_tokens_cut", "n_unknown", "passages")
# The table of a night: `document` is a patient's, and `digest` what the model sees of a chunk.
CHUNKS = T.StructType(
    [
        *(field for field in _PREPARED if field.name != "input_ids"),
        T.StructField("digest", T.StringType()),
        T.StructField("probability", T.DoubleType()),
        T.StructField("preparation", T.StringType()),
        T.StructField("model", T.StringType()),
    ]
)


def preparation_key(chunk: Chunk, tokenizer: ChunkTokenizer) -> str:
    """16 hex digits of all that decides how a document becomes chunks, max_tokens included."""
    what = json.dumps([asdict(chunk), tokenizer.fingerprint, tokenizer.max_tokens])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def prepare_documents(documents: DataFrame, chunk: Chunk, tokenizer: ChunkTokenizer) -> DataFrame:
    """The columns of `KEPT`, and input_ids: the chunks of `night.document_notes`' documents."""

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(_PREPARED)
        for batch in batches:
            rows = [row for one in batch.to_pylist() for row in _prepare(one, chunk, tokenizer)]
            yield pa.RecordBatch.from_pylist(rows, schema)

    # Two admissions with the very same notes are one document.
    once = documents.dropDuplicates(["document"])
    return with_digest(once.mapInArrow(apply, _PREPARED)).select(*KEPT, "input_ids")


def _prepare(
    row: dict[str, Any], chunk: Chunk, tokenizer: ChunkTokenizer
) -> Iterator[dict[str, Any]]:
    texts = [note["text"] for note in row["notes"]]
    chunks = cut(clean(document(texts)), chunk, tokenizer)
    if not chunks:
        yield {"document": row["document"]}
    encoded = tokenizer.encode(chunks)
    for i, (one, places) in enumerate(zip(encoded, passages(texts, chunks), strict=True)):
        yield {
            "document": row["document"],
            "chunk_index": i,
            "n_tokens": len(one.input_ids),
            "n_tokens_cut": one.n_cut,
            "n_unknown": one.input_ids.count(tokenizer.unknown_id),
            "passages": [
                {
                    "row_id": row["notes"][place.note]["row_id"],
                    "category": row["notes"][place.note]["category"],
                    "start": place.start,
                    "end": place.end,
                }
                for place in places
            ],
            "input_ids": one.input_ids,
        }


@dataclass(frozen=True)
class EarlierChunks:
    """What earlier nights leave to this one, by what their chunks were made with.

    documents: the columns of `KEPT`, all rows of a document or none. scores: digest, probability.
    """

    documents: DataFrame
    scores: DataFrame


def known(nights: DataFrame, preparation: str, model: str) -> EarlierChunks:
    """From the `chunks` tables of earlier nights, with the `night` of each row: a name that sorts
    by time."""
    prepared = nights.where(F.col("preparation") == preparation)
    # Any night has a document whole, so its rows of one night will do.
    newest = F.max("night").over(Window.partitionBy("document"))
    documents = (
        prepared.withColumn("newest", newest)
        .where("night = newest")
        .select(*KEPT)
        .dropDuplicates(["document", "chunk_index"])
    )
    scores = (
        nights.where((F.col("model") == model) & F.col("probability").isNotNull())
        .groupBy("digest")
        .agg(F.max_by("probability", "night").alias("probability"))
    )
    return EarlierChunks(documents, scores)


def to_prepare(documents: DataFrame, known: EarlierChunks) -> DataFrame:
    """Of tonight's `documents` those with a chunk that is not known or has no score."""
    unscored = (
        known.documents.where(F.col("digest").isNotNull())
        .join(known.scores, "digest", "left_anti")
        .select("document")
    )
    whole = known.documents.select("document").distinct().join(unscored, "document", "left_anti")
    return documents.join(whole, "document", "left_anti")


def to_score(prepared: DataFrame, known: EarlierChunks) -> DataFrame:
    """What `score.score_chunks` takes, with the digest in place of the owners: the prepared chunks
    that have no score, each once."""
    return (
        prepared.where(F.col("digest").isNotNull())
        .join(known.scores, "digest", "left_anti")
        .groupBy("digest")
        .agg(F.first("input_ids").alias("input_ids"), F.first("n_tokens").alias("n_tokens"))
        .withColumn("owners", F.array(F.struct("digest")))
    )


def night_chunks(
    documents: DataFrame,
    known: EarlierChunks,
    prepared: DataFrame,
    scores: DataFrame,
    preparation: str,
    model: str,
) -> DataFrame:
    """The `chunks` table of the night, columns as `CHUNKS`: those of the known documents and of the
    ones prepared tonight, with their scores (digest, probability)."""
    new = prepared.select(*KEPT)
    old = known.documents.join(new.select("document").distinct(), "document", "left_anti")
    return (
        old.unionByName(new)
        .join(documents.select("document").distinct(), "document", "left_semi")
        .join(scores, "digest", "left")
        .withColumn("preparation", F.lit(preparation))
        .withColumn("model", F.lit(model))
        .select(*CHUNKS.names)
    )
