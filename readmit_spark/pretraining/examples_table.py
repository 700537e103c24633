"""Examples for pretraining, made in Spark: notes to segments to pairs with masked tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Config
from readmit_spark.notes.clean import clean_for_pretraining
from readmit_spark.notes.cohort import split_of
from readmit_spark.notes.note_rule import note_order, unusable
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.pretraining.examples import SPECIALS, masked_example, sentence_pairs
from readmit_spark.storage.output_tables import EXAMPLES
from readmit_spark.storage.schemas import struct_type

_GROUP = 200  # documents whose segments are each other's foreign second halves
_TOKENS = T.ArrayType(T.IntegerType())
_SEGMENTS = struct_type(
    split=T.StringType(), subject_id=T.LongType(), hadm_id=T.LongType(),
    segments=T.ArrayType(_TOKENS),
)  # fmt: skip


def segments_table(
    notes: DataFrame, config: Config, tokenizer: ChunkTokenizer, counts: Observation
) -> DataFrame:
    """Build split, subject_id, hadm_id, segments (token ids of each): one row for each
    document.

    A document is all notes of an admission, because many notes are too short for a pair. The notes
    of a patient without an admission make one document. It holds usable notes of
    `pretrain.categories` in order, each ROW_ID once. Patients of the test split are left out.
    `counts` is filled when the table is computed, with three counts of the usable notes of these
    categories: learnt (in the table), nameless (without ROW_ID or SUBJECT_ID) and
    tested (of the test split).
    """
    readable = unusable(config.profile).isNull() & F.col("category").isin(
        list(config.pretrain.categories)
    )
    named = F.col("row_id").isNotNull() & F.col("subject_id").isNotNull()
    tested = F.col("split") == "test"
    to_learn = readable & named & ~tested
    learnable = (
        notes.withColumn("split", split_of(config))
        .observe(
            counts,
            F.count(F.when(to_learn, 1)).alias("learnt"),
            F.count(F.when(readable & ~named, 1)).alias("nameless"),
            F.count(F.when(readable & named & tested, 1)).alias("tested"),
        )
        .where(to_learn)
        .dropDuplicates(["row_id"])
    )
    published = config.text_rules.cleaning.published
    note = F.struct(*note_order(), "text")
    documents = learnable.groupBy("split", "subject_id", "hadm_id").agg(
        F.transform(F.array_sort(F.collect_list(note)), lambda n: n["text"]).alias("texts")
    )

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            parts = [
                [part for text in texts for part in segment(clean_for_pretraining(text, published))]
                for texts in batch["texts"].to_pylist()
            ]
            pieces = iter(tokenizer.pieces([part for document in parts for part in document]))
            segments = [[next(pieces) for _ in document] for document in parts]
            keys = [batch[name] for name in _SEGMENTS.names[:-1]]
            column = pa.array(segments, pa.list_(pa.list_(pa.int32())))
            yield pa.RecordBatch.from_arrays([*keys, column], _SEGMENTS.names)

    return documents.mapInArrow(cut, _SEGMENTS)


def examples_table(
    segments: DataFrame, config: Config, tokenizer: ChunkTokenizer, tokens: int
) -> DataFrame:
    """Build split, input_ids, n_first, masked, answers, is_next: examples of at most `tokens`
    tokens.

    Each training document is used `pretrain.copies` times, with other pairs and masks each time;
    a validation document once. A second half that does not follow comes from another document of
    the same split. The same seed and notes give the same examples, whatever Spark's partitions.
    """
    seed, copies = config.train.seed, config.pretrain.copies
    whole_words, share = config.pretrain.whole_words, config.pretrain.masked
    vocabulary = tokenizer.vocabulary()
    groups = max(1, math.ceil(segments.count() / _GROUP))
    group = F.pmod(F.xxhash64(F.lit(seed), "subject_id", "hadm_id"), F.lit(groups))

    def make(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values(["subject_id", "hadm_id"])
        documents = [[np.asarray(part).tolist() for part in note] for note in rows["segments"]]
        split, number = str(rows["split"].iloc[0]), int(rows["group"].iloc[0])
        examples = []
        for copy in range(copies if split == "train" else 1):
            key = [seed, tokens, copy, number, int(split == "train")]
            random = np.random.default_rng(key)
            for pair in sentence_pairs(documents, tokens - SPECIALS, random):
                example = masked_example(pair, vocabulary, random, share, whole_words)
                ids = (np.array(part, np.int32) for part in (example.input_ids, example.masked,
                                                             example.answers))  # fmt: skip
                examples.append((split, *ids, example.n_first, pair.is_next))
        return pd.DataFrame(examples, columns=EXAMPLES.schema.names)

    return segments.withColumn("group", group).groupBy("split", "group").applyInPandas(
        make, EXAMPLES.schema
    )  # fmt: skip


class TooLong(NamedTuple):
    """segments: number of segments. long: number too long for any pair. share: of the tokens in
    them, 0 to 1."""

    segments: int
    long: int
    share: float


def too_long(segments: DataFrame, tokens: int) -> TooLong:
    """Count the segments that examples of `tokens` tokens leave out.

    An example holds at least two segments, and only whole ones.
    """
    sizes = segments.select(
        F.explode(F.transform("segments", lambda part: F.size(part))).alias("n")
    )
    long = F.col("n") > tokens - SPECIALS - 1
    row = sizes.agg(
        F.count(F.lit(1)),
        F.count(F.when(long, 1)),
        F.coalesce(F.sum(F.when(long, F.col("n"))) / F.sum("n"), F.lit(0.0)),
    ).first()
    assert row is not None  # an aggregate without groups always has one row
    return TooLong(*row)
