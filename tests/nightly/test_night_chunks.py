"""Which chunks and probabilities a night reuses, and which it makes."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.nightly.night_chunks import (
    CHUNKS,
    REUSED,
    EarlierChunks,
    earlier_chunks,
    night_chunks,
    prepare_documents,
    to_prepare,
)
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from tests.tables_in import words

pytestmark = pytest.mark.spark4

SCHEMA = (
    "night string, document string, chunk_index int, digest string, probability double, "
    "preparation string, model string"
)


def nights(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Rows of `SCHEMA` with the other columns of `CHUNKS` null."""
    table = spark.createDataFrame(list(rows), SCHEMA)
    others = [field for field in CHUNKS if field.name not in table.columns]
    return table.selectExpr(
        "*", *(f"cast(null as {field.dataType.simpleString()}) as {field.name}" for field in others)
    )


def documents(spark: SparkSession, *names: str) -> DataFrame:
    return spark.createDataFrame([(name,) for name in names], "document string")


def chunks_of(earlier: EarlierChunks) -> set[tuple[str, int | None, float | None]]:
    return {(row.document, row.chunk_index, row.probability) for row in earlier.chunks.collect()}


def test_chunks_of_this_preparation_and_scores_of_this_model_are_reused(
    spark: SparkSession,
) -> None:
    earlier = earlier_chunks(
        nights(
            spark,
            ("1", "a", 0, "x", 0.1, "mine", "mine"),
            ("2", "a", 0, "x", 0.2, "mine", "mine"),  # the last night counts
            ("2", "b", 0, "y", 0.3, "mine", "other"),
            ("2", "c", 0, "z", 0.4, "other", "mine"),
            ("2", "d", None, None, None, "mine", "mine"),  # too short for a chunk
            ("2", "gone", 0, "x", 0.2, "mine", "mine"),  # not a document of tonight
        ),
        documents(spark, "a", "b", "c", "d"),
        "mine",
        "mine",
    )
    assert chunks_of(earlier) == {("a", 0, 0.2), ("b", 0, None), ("d", None, None)}
    assert earlier.chunks.columns == [*REUSED, "probability"]
    scores = {row.digest: row.probability for row in earlier.scores.collect()}
    assert scores == {"x": 0.2, "z": 0.4}


def test_documents_are_prepared_that_are_new_or_lack_a_score(spark: SparkSession) -> None:
    tonight = documents(spark, "scored", "half scored", "short", "new")
    earlier = earlier_chunks(
        nights(
            spark,
            ("1", "scored", 0, "x", 0.1, "mine", "mine"),
            ("1", "scored", 1, "y", 0.2, "mine", "mine"),
            ("1", "half scored", 0, "x", 0.1, "mine", "mine"),
            ("1", "half scored", 1, "z", 0.3, "mine", "other"),
            ("1", "short", None, None, None, "mine", "mine"),
        ),
        tonight,
        "mine",
        "mine",
    )
    rows = to_prepare(tonight, earlier.chunks).collect()
    assert {row.document for row in rows} == {"half scored", "new"}


def test_a_night_joins_reused_and_new_chunks(spark: SparkSession) -> None:
    # Two patients may have the same document.
    tonight = documents(spark, "same", "same", "prepared again", "new")
    earlier = earlier_chunks(
        nights(
            spark,
            ("1", "same", 0, "x", 0.1, "mine", "mine"),
            ("1", "prepared again", 0, "old", 0.2, "mine", "mine"),
            ("1", "gone", 0, "g", 0.3, "mine", "mine"),  # its patient has left, or has new notes
        ),
        tonight,
        "mine",
        "mine",
    )
    prepared = nights(
        spark,
        ("", "prepared again", 0, "new", None, "", ""),
        ("", "new", 0, "x", 0.1, "", ""),  # equal to an earlier chunk
        ("", "short", None, None, None, "", ""),  # too short for a chunk
    )
    scores = spark.createDataFrame([("new", 0.9)], "digest string, probability double")
    table = night_chunks(earlier.chunks, prepared, scores, "mine", "mine")
    assert table.columns == CHUNKS.names
    rows = table.collect()
    assert {(row.document, row.digest, row.probability) for row in rows} == {
        ("new", "x", 0.1), ("prepared again", "new", 0.9), ("same", "x", 0.1),
        ("short", None, None),
    }  # fmt: skip
    assert len(rows) == 4
    assert {(row.preparation, row.model) for row in rows} == {("mine", "mine")}


def test_prepared_chunks_know_their_passages(
    spark: SparkSession, tokenizer: ChunkTokenizer
) -> None:
    notes = [(1, "nursing", words(5)), (2, "ecg", words(6, 10))]
    rows = [(11, "a", notes), (12, "a", notes), (13, "b", [(3, "ecg", "sinus")])]
    schema = (
        "hadm_id long, document string, "
        "notes array<struct<row_id: long, category: string, text: string>>"
    )
    table = prepare_documents(spark.createDataFrame(rows, schema), preparation(6, tokenizer))
    first, second, short = table.orderBy("document", "chunk_index").collect()
    assert [(p.row_id, p.category, p.start) for p in first.passages] == [
        (1, "nursing", 0), (2, "ecg", 0),
    ]  # fmt: skip
    assert [(p.row_id, p.end) for p in second.passages] == [(2, len(words(6, 10)))]
    assert (first.n_tokens, len(first.digest)) == (len(first.input_ids), 64)
    assert (short.document, short.chunk_index, short.digest) == ("b", None, None)


def test_the_preparation_key_changes_with_chunks_and_token_limit(
    tokenizer: ChunkTokenizer, tiny_model: str
) -> None:
    from readmit_spark.scoring.load_tokenizer import load_tokenizer

    key = preparation(6, tokenizer).key
    assert len(key) == 16
    assert key == preparation(6, load_tokenizer(tiny_model, 128)).key
    assert key != preparation(7, tokenizer).key
    assert key != preparation(6, load_tokenizer(tiny_model, 64)).key
    segments = load_config(overrides=["chunk.min_tail_words=3"])
    assert key != Preparation.of(segments, tokenizer).key


def preparation(n_words: int, tokenizer: ChunkTokenizer) -> Preparation:
    settings = ["chunk.mode=words", f"chunk.words={n_words}", "chunk.min_tail_words=3"]
    return Preparation.of(load_config(overrides=settings), tokenizer)
