"""Tables as prepare writes them. The first words decide the label, so a tiny BERT can learn it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from readmit_spark.config import Train
from readmit_spark.config_file import load_config
from readmit_spark.evaluation.subgroups import FACTORS
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.storage.manifests import Prepared
from readmit_spark.training.plan import TrainingPlan
from tests.tiny import VOCABULARY

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLS, SEP, HEART = (VOCABULARY.index(t) for t in ("[CLS]", "[SEP]", "heart"))
WINDOW = "3days"
# Two values of each subgroup factor, independent of the outcome.
VALUES = {
    "sex": ("female", "male"),
    "age_band": ("18 to 44", "65 to 79"),
    "ethnicity": ("black", "white"),
    "insurance": ("medicare", "private"),
    "admission_type": ("emergency", "urgent"),
    "discharge_to": ("facility", "home"),
}

Row = dict[str, Any]


def rows(n: int, seed: int, split: str = "train", first: int = 0) -> list[Row]:
    """Make n admissions of one or two chunks; every second one starts with "heart", label 1."""
    random = np.random.default_rng(seed)
    chunks = []
    for hadm in range(first, first + n):
        for chunk in range(random.integers(1, 3)):
            words = random.integers(6, 18, size=random.integers(5, 60))
            words[words == HEART] = HEART + 1
            if hadm % 2:
                words[:3] = HEART
            chunks.append(
                {
                    "subject_id": hadm // 2,
                    "hadm_id": hadm,
                    "chunk_index": chunk,
                    "input_ids": [CLS, *words.tolist(), SEP],
                    "n_tokens": len(words) + 2,
                    "label": hadm % 2,
                    "split": split,
                    "fold": hadm // 2 % 5,
                    "midnights": 5,
                    **{f: VALUES[f][hadm // 2 ** (i + 1) % 2] for i, f in enumerate(FACTORS)},
                }
            )
    return chunks


def _digest(ids: list[int]) -> str:
    return hashlib.sha256(str([int(i) for i in ids]).encode()).hexdigest()


def write_prepared(folder: Path, chunks: list[Row], window: str = WINDOW) -> str:
    """Write the tables as prepare does, each in two files; return the folder."""
    schema = {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "chunk_index": pa.int32(),
        "input_ids": pa.list_(pa.int32()),
        "n_tokens": pa.int32(),
        "label": pa.int32(),
        "split": pa.string(),
        "digest": pa.string(),
    }
    chunks = [{**row, "digest": _digest(row["input_ids"])} for row in chunks]
    admissions = list({row["hadm_id"]: row for row in chunks}.values())
    cohort = {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "split": pa.string(),
        "fold": pa.int32(),
        "midnights": pa.int32(),
        "label": pa.int32(),
        "admission_type": pa.string(),
    }
    groups = {"hadm_id": pa.int64(), **{factor: pa.string() for factor in FACTORS}}
    for name, part, fields in (
        (f"chunks/window={window}", chunks, schema),
        ("cohort", admissions, cohort),
        ("subgroups", [{**dict.fromkeys(FACTORS, "unknown"), **row} for row in admissions], groups),
        ("exclusions", [], {"hadm_id": pa.int64(), "reason": pa.string()}),
    ):
        (folder / name).mkdir(parents=True)
        for i in range(2):
            columns = {f: pa.array([row[f] for row in part[i::2]], t) for f, t in fields.items()}
            pq.write_table(pa.table(columns), folder / name / f"part-{i}.parquet")
    return str(folder)


def prepared_of(folder: str, model: str, spark: SparkSession | None = None) -> Prepared:
    """Return the manifest of the tables that `write_prepared` wrote."""
    tokenizer = load_tokenizer(model, 128).fingerprint
    config = {
        "windows": [WINDOW], "model": {"max_tokens": 128}, "profile": "default",
        "chunk": {"mode": "words", "words": 318, "min_tail_words": 10},
        "split": {"level": None, "seed": 1},
    }  # fmt: skip
    rows = pq.read_table(f"{folder}/cohort").num_rows
    values = {
        "job": "prepare",
        "path": folder,
        "run": "prepare/1",
        "tables": {
            table.name: {"rows": pq.read_table(table).num_rows, "files": {}}
            for table in Path(folder).iterdir()
        },
        "notes": {},
        "seconds": {},
        "finished": "2026-01-01T00:00:00",
        "tokenizer": tokenizer,
        "config": config,
        "admissions": {"rows": rows, "duplicate_rows": 0},
    }
    prepared = Prepared.model_validate(values)
    if spark:
        prepared._spark = spark
    return prepared


def learnable(folder: Path, train: int = 40, validation: int = 60) -> str:
    """Write training and validation admissions, and a few test admissions; return the folder."""
    return write_prepared(
        folder,
        rows(train, 2)
        + rows(validation, 9, "validation", first=1000)
        + rows(10, 5, "test", first=2000),
    )


def settings(**changes: Any) -> Train:
    """Return training settings with small batches and a large learning rate."""
    base = {"window": WINDOW, "epochs": 4.0, "learning_rate": 1e-3, "batch_size": 8,
            "micro_batch_size": 4, "seed": 1}  # fmt: skip
    return replace(load_config().train, **{**base, **changes})


def plan(
    model: str, folder: str, work: Path, fold: int | None = None, **changes: Any
) -> TrainingPlan:
    return TrainingPlan(
        start_model=model,
        prepared_folder=folder,
        fold=fold,
        train_windows=(WINDOW,),
        scored_windows=(WINDOW,),
        settings=settings(**changes),
        vote_c=2.0,
        checkpoint_folder=str(work),
    )
