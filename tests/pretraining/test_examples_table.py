"""Examples made by Spark: from the right notes and split, and the same every time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.pretraining.examples_table import examples_table, segments_table, too_long
from tests import oracles

pytestmark = pytest.mark.spark4

SCHEMA = (
    "row_id long, subject_id long, hadm_id long, category string, iserror boolean, text string, "
    "chartdate date, charttime timestamp, malformed boolean"
)
DAY = date(2150, 1, 2)
SENTENCE = " ".join(["pain"] * 24) + ". "
OTHER = " ".join(["no"] * 22) + ". "


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(overrides=["pretrain.copies=2", "split.seed=3", "train.seed=3"])


def frame(spark: SparkSession, rows: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame([(*row, DAY, None, False) for row in rows], SCHEMA)


def test_the_notes_and_patients_to_learn_from(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> None:
    people = range(1, 60)
    rows: list[tuple[Any, ...]] = [(i, i, None, "nursing", False, SENTENCE) for i in people]
    rows += [(1000 + i, i, 7, "physician", False, SENTENCE) for i in people]
    rows += [(2000 + i, i, 7, "nursing/other", False, OTHER) for i in people]
    rows += [rows[0]]  # delivered twice
    left_out = [
        (3001, 1, 7, "radiology", False, SENTENCE),
        (3002, 1, 7, "discharge summary", False, SENTENCE),
        (3003, 1, 7, "nursing", True, SENTENCE),
        (3004, 1, 7, "nursing", False, None),
        (3005, None, 7, "nursing", False, SENTENCE),
        (None, 1, 7, "nursing", False, SENTENCE),
    ]
    counts = Observation()
    notes = frame(spark, rows + left_out)
    documents = segments_table(notes, config, tokenizer, counts).collect()
    sides = {i: oracles.split(i, 3) for i in people}
    assert {row.subject_id: row.split for row in documents} == {
        i: side for i, side in sides.items() if side != "test"
    }
    assert set(sides.values()) == {"train", "validation", "test"}
    pain, no = (tokenizer.pieces([" ".join(text.split())])[0] for text in (SENTENCE, OTHER))
    for row in documents:
        # In the order of the admission's notes; a note without an admission is a document.
        assert row.segments == ([pain] if row.hadm_id is None else [pain, no])
    assert len(documents) == 2 * len({row.subject_id for row in documents})
    tested = sum(sides[row[1]] == "test" for row in rows)  # the note delivered twice counts twice
    learnt = len(rows) - tested
    assert counts.get == {
        "learnt": learnt, "nameless": 2, "tested": tested,
    }  # fmt: skip


def test_segments_of_a_note(spark: SparkSession, config: Config, tokenizer: ChunkTokenizer) -> None:
    text = "Pt. seen  and [**Name**] BP 120/80 " + SENTENCE + OTHER + "\n1. " + SENTENCE
    subject = next(s for s in range(1, 99) if oracles.split(s, 3) == "train")
    rows = frame(spark, [(1, subject, None, "nursing", False, text)])
    (document,) = segments_table(rows, config, tokenizer, Observation()).collect()
    parts = oracles.segments(oracles.clean_for_pretraining(text))
    assert len(parts) > 1 and "120" in oracles.clean(text) and "120" not in " ".join(parts)
    assert [tokenizer.tokens(part) for part in document.segments] == [
        tokenizer.tokens(ids) for ids in tokenizer.pieces(parts)
    ]


def learnable(spark: SparkSession, config: Config, tokenizer: ChunkTokenizer) -> DataFrame:
    """Notes of training patients say "pain", those of validation patients "no"."""
    rows = [
        (i, i, None, "nursing", False, 5 * (SENTENCE if oracles.split(i, 3) == "train" else OTHER))
        for i in range(200)
    ]
    return segments_table(frame(spark, rows), config, tokenizer, Observation())


def test_splits_are_not_mixed(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> None:
    examples = examples_table(learnable(spark, config, tokenizer), config, tokenizer, 64).collect()
    assert {row.split for row in examples} == {"train", "validation"}
    assert {row.is_next for row in examples} == {True, False}
    (pain,), (no,) = tokenizer.pieces(["pain", "no"])
    for row in examples:
        assert len(row.input_ids) <= 64
        expected = pain if row.split == "train" else no
        words = {answer for answer in row.answers if answer in (pain, no)}
        assert words <= {expected}


def test_the_same_examples_whatever_the_partitions(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> None:
    segments = learnable(spark, config, tokenizer)

    def made(frame: DataFrame, config: Config) -> list[Any]:
        rows = examples_table(frame, config, tokenizer, 64).collect()
        return sorted(tuple(map(str, row)) for row in rows)

    once = made(segments, config)
    backwards = segments.repartition(5, "split").orderBy("subject_id", ascending=False)
    assert once == made(backwards, config)
    assert once != made(segments, replace(config, train=replace(config.train, seed=4)))
    twice = replace(config, pretrain=replace(config.pretrain, copies=4))
    train, held_out = (
        [len([row for row in rows if row[0] == split]) for rows in (once, made(segments, twice))]
        for split in ("train", "validation")
    )
    assert train[1] == pytest.approx(2 * train[0], rel=0.1)
    assert held_out[0] == held_out[1]


def test_segments_too_long_for_an_example_are_counted(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> None:
    schema = "segments array<array<int>>"
    assert too_long(spark.createDataFrame([], schema), 64) == (0, 0, 0.0)
    texts = [([[1] * 60, [2] * 10],), ([[3] * 61, []],)]  # 61 tokens and one more are too many
    assert too_long(spark.createDataFrame(texts, schema), 64) == (4, 1, 61 / 131)
    subject = next(s for s in range(1, 99) if oracles.split(s, 3) == "train")
    notes = frame(spark, [(1, subject, None, "nursing", False, "pain " * 90 + ". " + SENTENCE)])
    segments = segments_table(notes, config, tokenizer, Observation())
    assert too_long(segments, 64)[:2] == (2, 1)
    assert examples_table(segments, config, tokenizer, 64).count() == 0


def test_whole_words_where_asked(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> None:
    text = 9 * ("pt " + " ".join(["hypotension"] * 2) + " pain" * 20 + ". ")
    rows = [(i, i, None, "nursing", False, text) for i in range(50)]
    whole = replace(config, pretrain=replace(config.pretrain, whole_words=True, masked=0.3))
    segments = segments_table(frame(spark, rows), whole, tokenizer, Observation())
    pieces = tokenizer.vocabulary().pieces
    inside = 0
    for row in examples_table(segments, whole, tokenizer, 128).collect():
        true = dict(zip(row.masked, row.answers, strict=True))
        ids = [true.get(i, token) for i, token in enumerate(row.input_ids)]
        for i, token in enumerate(ids):
            if pieces[token]:
                assert (i in true) == (i - 1 in true)
                inside += i in true
    assert inside
