"""The programs that readmit-spark is compared with, each written as its documentation suggests.

For prepare: `linear` (one pandas loop on one core) and `spacy_segments`.

For score: `published_loop`, `pipeline_udf`, `predict_batch` and `mlflow_udf`. Each takes one
Parquet row a chunk and returns hadm_id and probability. Models are built once a worker, on the
one thread that Spark gives it, in fp32. Spark's workers import this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import BarrierTaskContext
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.functions import pandas_udf

TASKS = 2  # one a core
MAX_TOKENS = 512
BATCH = 32
Score = Callable[[DataFrame], DataFrame]
WORDS, MIN_TAIL_WORDS = 318, 10

_REPLACEMENTS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\[(.*?)\]", ""),
        (r"[0-9]+\.", ""),
        (r"dr\.", "doctor"),
        (r"m\.d\.", "md"),
        (r"admission date:", ""),
        (r"discharge date:", ""),
        (r"--|__|==", ""),
    ]
]


def linear(texts: pd.Series) -> pd.DataFrame:
    """Clean and cut each text in one pass on one core. Return id, chunk_index and text."""
    rows = []
    for identity, text in texts.items():
        cleaned = text.replace("\n", " ").replace("\r", " ").strip().lower()
        for expression, replacement in _REPLACEMENTS:
            cleaned = expression.sub(replacement, cleaned)
        words = cleaned.split()
        for index, start in enumerate(range(0, len(words), WORDS)):
            chunk = words[start : start + WORDS]
            if len(chunk) == WORDS or len(chunk) > MIN_TAIL_WORDS:
                rows.append((identity, index, " ".join(chunk)))
    return pd.DataFrame(rows, columns=["id", "chunk_index", "text"])


def spacy_segments(nlp: Any, text: str, min_words: int = 20) -> list[str]:
    """Return spaCy's sentences, each shorter than min_words joined to the one before it.

    A sentence that ends inside a word ends after that word. nlp: a tokenizer and the sentencizer.
    """
    segments: list[list[str]] = []
    matches = re.finditer(r"\S+", text)
    match = next(matches, None)
    for sentence in nlp(text).sents:
        words = []
        while match and match.start() < sentence.end_char:
            words.append(match.group())
            match = next(matches, None)
        if segments and len(words) < min_words:
            segments[-1] += words
        elif words:
            segments.append(words)
    return [" ".join(words) for words in segments]


def published_loop(folder: str) -> Score:
    """The paper's code: every chunk padded to 512 tokens, two at a time, plain attention."""

    @pandas_udf(T.DoubleType())  # type: ignore[call-overload]
    def run(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        import torch

        tokenizer, model = _tokenizer(folder), _model(folder, "eager")
        for texts in batches:
            logits = []
            for start in range(0, len(texts), 2):
                encoded = tokenizer(
                    texts.iloc[start : start + 2].tolist(),
                    padding="max_length",
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                with torch.no_grad():
                    logits.append(model(**encoded).logits[:, 0])
            yield pd.Series(torch.sigmoid(torch.cat(logits).double()).numpy())

    return _column(run("text"))


def pipeline_udf(folder: str) -> Score:
    """transformers' pipeline over the texts of an Arrow batch, 32 at a time in their order."""

    @pandas_udf(T.DoubleType())  # type: ignore[call-overload]
    def run(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        classify = _pipeline(folder)
        for texts in batches:
            results = classify(
                texts.tolist(), batch_size=BATCH, truncation=True, max_length=MAX_TOKENS
            )
            yield pd.Series([float(row["score"]) for row in results])

    return _column(run("text"))


def predict_batch(folder: str) -> Score:
    """Spark's own predict_batch_udf. It needs tensors of one shape: token ids padded to 512."""
    from pyspark.ml.functions import predict_batch_udf

    def make() -> Callable[[np.ndarray], np.ndarray]:
        import torch

        model = _model(folder, "sdpa")

        def predict(padded: np.ndarray) -> np.ndarray:
            ids = torch.from_numpy(padded.astype(np.int64))
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits[:, 0]
            return torch.sigmoid(logits.double()).numpy()

        return predict

    score = predict_batch_udf(
        make,
        return_type=T.DoubleType(),
        batch_size=BATCH,
        input_tensor_shapes=[[MAX_TOKENS]],
    )
    return _column(score("padded_ids"))


def mlflow_udf(spark: SparkSession, logged: str) -> Score:
    """mlflow.pyfunc.spark_udf of the model as MLflow saved it, with its default batch size.

    In local mode MLflow loads the model again for every task, on a cluster once a worker. Here the
    workers keep it, as on a cluster.
    """
    import mlflow.pyfunc

    spark.range(0, TASKS, 1, TASKS).mapInArrow(_keep_models, "id long", barrier=True).collect()
    score = mlflow.pyfunc.spark_udf(spark, logged, result_type="double", env_manager="local")
    return _column(score("text"))


def _keep_models(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import mlflow.pyfunc

    load, models = mlflow.pyfunc.load_model, {}

    def load_once(uri: str, **settings: Any) -> Any:
        if uri not in models:
            models[uri] = load(uri, **settings)
        return models[uri]

    mlflow.pyfunc.load_model = load_once
    BarrierTaskContext.get().barrier()  # or one worker could take both tasks
    yield from batches


def _column(probability: Column) -> Score:
    # By digest, as score_chunks does, so that a worker gets the same chunks from every program.
    return lambda frame: frame.repartition(TASKS, "digest").select(
        "hadm_id", probability.alias("probability")
    )


@cache
def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


@cache
def _model(folder: str, attention: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation=attention, trust_remote_code=False
    ).eval()


@cache
def _pipeline(folder: str) -> Any:
    from transformers import pipeline

    model = _model(folder, "sdpa")
    return pipeline("text-classification", model=model, tokenizer=_tokenizer(folder), device="cpu")
