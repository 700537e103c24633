"""Pretraining's examples: notes to segments to pairs with hidden words, in Spark."""

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
from readmit_spark.notes.documents_table import note_order, readable_notes
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.pretraining.examples import SPECIALS, masked_example, sentence_pairs

_SHELF = 200  # stays among which a foreign second half is sought
_TOKENS = T.ArrayType(T.IntegerType())
_SEGMENTS = T.StructType(
    [
        T.StructField("split", T.StringType()),
        T.StructField("subject_id", T.LongType()),
        T.StructField("hadm_id", T.LongType()),
        T.StructField("segments", T.ArrayType(_TOKENS)),
    ]
)
_EXAMPLES = T.StructType(
    [
        T.StructField("split", T.StringType()),
        T.StructField("input_ids", _TOKENS),
        T.StructField("masked", _TOKENS),
        T.StructField("answers", _TOKENS),
        T.StructField("n_first", T.IntegerType()),
        T.StructField("is_next", T.BooleanType()),
    ]
)


def segments_table(
    notes: DataFrame, config: Config, tokenizer: ChunkTokenizer, counts: Observation
) -> DataFrame:
    """split, subject_id, hadm_id, segments (token ids of each): one row a stay to learn from.

    Its notes of `pretrain.categories` that can be read, once each (by row_id) and in order: one
    document, as many notes are too short to have a next sentence. Notes of no stay make one
    document a patient. Patients of the test split are left out, whatever became of their
    admissions. `counts` fills while the table is computed: notes and malformed; of the notes
    learnt, nameless (without a ROW_ID or SUBJECT_ID) and tested; the others are not wanted.
    """
    wanted = readable_notes(config) & F.col("category").isin(list(config.pretrain.categories))
    named = F.col("row_id").isNotNull() & F.col("subject_id").isNotNull()
    tested = F.col("split") == "test"
    to_learn = wanted & named & ~tested
    learnable = (
        notes.withColumn("split", split_of(config))
        .observe(
            counts,
            F.count(F.lit(1)).alias("notes"),
            F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
            F.count(F.when(to_learn, 1)).alias("learnt"),
            F.count(F.when(wanted & ~named, 1)).alias("nameless"),
            F.count(F.when(wanted & named & tested, 1)).alias("tested"),
        )
        .where(to_learn)
        .dropDuplicates(["row_id"])
    )
    note = F.struct(*note_order(), "text")
    stays = learnable.groupBy("split", "subject_id", "hadm_id").agg(
        F.transform(F.array_sort(F.collect_list(note)), lambda n: n["text"]).alias("texts")
    )

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            parts = [
                [part for text in texts for part in segment(clean_for_pretraining(text))]
                for texts in batch["texts"].to_pylist()
            ]
            pieces = iter(tokenizer.pieces([part for document in parts for part in document]))
            segments = [[next(pieces) for _ in document] for document in parts]
            keys = [batch[name] for name in _SEGMENTS.names[:-1]]
            found = pa.array(segments, pa.list_(pa.list_(pa.int32())))
            yield pa.RecordBatch.from_arrays([*keys, found], _SEGMENTS.names)

    return stays.mapInArrow(cut, _SEGMENTS)


def examples_table(
    segments: DataFrame, config: Config, tokenizer: ChunkTokenizer, tokens: int
) -> DataFrame:
    """split, input_ids, n_first, masked, answers, is_next: examples of at most `tokens` tokens.

    `pretrain.copies` times each document, with other pairs and masks each time; once where it is
    held out. Foreign halves come from documents of the same split. The same seed and notes give the
    same examples, however Spark cuts its partitions.
    """
    seed, copies = config.train.seed, config.pretrain.copies
    whole_words, share = config.pretrain.whole_words, config.pretrain.masked
    vocabulary = tokenizer.vocabulary()
    shelves = max(1, math.ceil(segments.count() / _SHELF))
    shelf = F.pmod(F.xxhash64(F.lit(seed), "subject_id", "hadm_id"), F.lit(shelves))

    def make(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values(["subject_id", "hadm_id"])
        documents = [[np.asarray(part).tolist() for part in note] for note in rows["segments"]]
        split, place = str(rows["split"].iloc[0]), int(rows["shelf"].iloc[0])
        found = []
        for copy in range(copies if split == "train" else 1):
            key = [seed, tokens, copy, place, int(split == "train")]
            random = np.random.default_rng(key)
            for pair in sentence_pairs(documents, tokens - SPECIALS, random):
                example = masked_example(pair, vocabulary, random, share, whole_words)
                ids = (np.array(part, np.int32) for part in (example.input_ids, example.masked,
                                                             example.answers))  # fmt: skip
                found.append((split, *ids, example.n_first, pair.is_next))
        return pd.DataFrame(found, columns=_EXAMPLES.names)

    return segments.withColumn("shelf", shelf).groupBy("split", "shelf").applyInPandas(
        make, _EXAMPLES
    )  # fmt: skip


class TooLong(NamedTuple):
    """segments: how many there are; long: how many no pair can hold; share: of the tokens."""

    segments: int
    long: int
    share: float


def too_long(segments: DataFrame, tokens: int) -> TooLong:
    """What examples of `tokens` tokens leave out: they hold whole segments, at least two."""
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
