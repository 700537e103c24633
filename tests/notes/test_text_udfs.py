"""Cleaning, segmentation and chunking are three pandas UDFs, and Spark chains them."""

from __future__ import annotations

import re

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.text_udfs import chunk, chunks_of, clean, segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from tests import oracles
from tests.nasty_texts import NASTY_TEXTS

pytestmark = pytest.mark.spark4

MODES = {"segments": "clean segment chunk", "words": "clean chunk"}


def preparation(mode: str, tokenizer: ChunkTokenizer) -> Preparation:
    return Preparation.of(
        load_config(overrides=[f"chunk.mode={mode}", "chunk.words=30"]), tokenizer
    )


@pytest.mark.parametrize("mode", MODES)
def test_spark_evaluates_the_chain_in_one_pass_through_python(
    spark: SparkSession, tokenizer: ChunkTokenizer, mode: str
) -> None:
    texts = spark.createDataFrame([("pain",)], "text string")
    cut = texts.select(chunks_of("text", preparation(mode, tokenizer)))
    plan = cut._jdf.queryExecution().executedPlan().toString()
    assert len(re.findall("ArrowEvalPython", plan)) == 1
    (chain,) = re.findall(r"ArrowEvalPython \[(.*?)#", plan)
    assert re.findall(r"[a-z]+(?=\()", chain) == MODES[mode].split()[::-1]


@pytest.mark.parametrize("mode", MODES)
def test_each_text_gets_the_chunks_of_the_pure_functions(
    spark: SparkSession, tokenizer: ChunkTokenizer, mode: str
) -> None:
    texts = [text.encode("utf-8", "replace").decode() for _, text in NASTY_TEXTS]
    rules = preparation(mode, tokenizer)
    rows = spark.createDataFrame(enumerate(texts), "number int, text string").select(
        "number", chunks_of("text", rules).alias("chunks")
    )
    chunks = {row.number: row.chunks for row in rows.collect()}
    assert chunks == {i: rules.cut(rules.clean(text)) for i, text in enumerate(texts)}
    assert sum(map(len, chunks.values())) > len(texts)


def test_each_step_is_a_function_of_its_column(
    spark: SparkSession, tokenizer: ChunkTokenizer
) -> None:
    rules = preparation("segments", tokenizer)
    text = "Pt seen.\nDenies pain [**Name**] " + "in the morning " * 10
    rows = spark.createDataFrame([(text,), (None,)], "text string")
    (cleaned,), (nothing,) = rows.select(clean(rules)("text")).collect()
    assert (cleaned, nothing) == (oracles.clean(text), "")
    rows = spark.createDataFrame([(cleaned,)], "text string")
    ((segments,),) = rows.select(segment()("text")).collect()
    assert segments == oracles.segments(cleaned)
    rows = spark.createDataFrame([(segments,)], "segments array<string>")
    ((chunks,),) = rows.select(chunk(rules)("segments")).collect()
    assert chunks == [" ".join(segments)]
