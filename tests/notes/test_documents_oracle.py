"""Cohort, exclusions and chunks are what the slow and obvious computation says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunks_table import chunk_rows, chunks_table
from readmit_spark.notes.cohort import (
    cohort_table,
    distinct_rows,
    exclusions_table,
    label_admissions,
)
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.input_tables import read_admissions, read_notes
from tests import oracles
from tests.odd_cohort import odd_cohort
from tests.tables_in import write_csv

CLINOSIM = Path(__file__).parents[2] / "../shared/data/clinosim"
PROFILES = ["default", "paper"]
WINDOWS = ["2days", "3days", "discharge"]

pytestmark = [pytest.mark.spark4, pytest.mark.parametrize("profile", PROFILES)]


@pytest.fixture(scope="module", params=["odd", "clinosim"])
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """Paths of ADMISSIONS and NOTEEVENTS."""
    if request.param == "odd":
        folder = tmp_path_factory.mktemp("odd")
        stays, notes = odd_cohort()
        return (
            write_csv(folder / "ADMISSIONS.csv", stays),
            write_csv(folder / "NOTEEVENTS.csv.gz", notes),
        )
    if not CLINOSIM.is_dir():
        pytest.skip("the clinosim cohort is not on this machine")
    return str(CLINOSIM / "ADMISSIONS.csv"), str(CLINOSIM / "NOTEEVENTS.csv.gz")


def test_cohort_and_exclusions(spark: SparkSession, source: tuple[str, str], profile: str) -> None:
    config = load_config(overrides=[f"profile={profile}"])
    expected = oracles.cohort(oracles.read_csv(source[0]), profile=profile, seed=config.split.seed)
    labelled = labelled_of(spark, source, config)
    rows = by_hadm(cohort_table(labelled, config))
    assert rows.keys() == expected.rows.keys()
    for hadm_id, row in expected.rows.items():
        assert rows[hadm_id] == row, hadm_id
    left_out = exclusions_table(labelled).collect()
    assert sorted(map(tuple, left_out)) == sorted(expected.exclusions)


def test_chunks(
    spark: SparkSession, source: tuple[str, str], tokenizer: ChunkTokenizer, profile: str
) -> None:
    """Whole segments in the default profile, 318 words in the paper profile."""
    config = load_config(
        overrides=[f"profile={profile}", f"windows=[{','.join(WINDOWS)}]", "model.max_tokens=128"]
    )

    def cut(text: str) -> list[str]:
        if profile == "paper":
            return oracles.word_chunks(text)
        budget = 126  # beside [CLS] and [SEP]
        return oracles.segment_chunks(text, lambda part: tokenizer.count([part])[0], budget)

    stays = oracles.cohort(
        oracles.read_csv(source[0]), profile=profile, seed=config.split.seed
    ).rows
    expected = oracles.chunks(oracles.read_csv(source[1]), stays, WINDOWS, profile, cut)
    labelled = labelled_of(spark, source, config)
    documents = documents_table(
        read_notes(spark, source[1]),
        cohort_table(labelled, config),
        labelled,
        config,
        Observation("notes"),
        Observation("repeated"),
    )
    chunks = chunks_table(chunk_rows(documents, Preparation.of(config, tokenizer))).toPandas()
    columns = chunks[["window", "hadm_id", "chunk_index", "text", "n_words"]]
    assert sorted(map(one_mark, columns.itertuples(index=False, name=None))) == sorted(
        map(one_mark, expected)
    )
    for row in chunks.itertuples():
        stay = stays[row.hadm_id]
        label = None if pd.isna(row.label) else row.label
        assert (row.subject_id, label, row.split) == (
            stay["subject_id"], stay["label"], stay["split"],
        )  # fmt: skip
        assert row.n_tokens == len(row.input_ids) <= 128
        assert profile == "paper" or row.n_tokens_cut == 0
        assert row.n_tokens + row.n_tokens_cut == tokenizer.count([row.text])[0] + 2


def one_mark(chunk: tuple[Any, ...]) -> tuple[Any, ...]:
    """Merge replacement characters: Java and Python write different numbers for broken bytes."""
    return tuple(re.sub("\ufffd+", "\ufffd", x) if isinstance(x, str) else x for x in chunk)


def labelled_of(spark: SparkSession, source: tuple[str, str], config: Config) -> DataFrame:
    return label_admissions(distinct_rows(read_admissions(spark, source[0])), config)


def by_hadm(cohort: DataFrame) -> Mapping[int, dict[str, Any]]:
    """Return rows in the form of the oracle: datetimes without time zone, None for null."""
    rows = cohort.toPandas().astype(object).to_dict("records")
    return {row["hadm_id"]: {name: plain(value) for name, value in row.items()} for row in rows}


def plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
