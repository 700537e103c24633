"""The four programs that scoring is held against, each as its own documentation would have it.

All take a Parquet row a chunk and give hadm_id, probability. Models are built once a worker, on the
one thread that Spark gives it, in fp32. Spark ships this file to the workers.
"""

from __future__ import annotations

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


def published_loop(folder: str) -> Score:
    """The paper's code: every chunk padded to 512 tokens, two at a time, attention spelt out."""

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
    """transformers' pipeline over the texts of an Arrow batch, 32 at a time as they come."""

    @pandas_udf(T.DoubleType())  # type: ignore[call-overload]
    def run(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        classify = _pipeline(folder)
        for texts in batches:
            found = classify(
                texts.tolist(), batch_size=BATCH, truncation=True, max_length=MAX_TOKENS
            )
            yield pd.Series([float(row["score"]) for row in found])

    return _column(run("text"))


def predict_batch(folder: str) -> Score:
    """Spark's own predict_batch_udf: tensors of one shape, so token ids padded to 512."""
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
    """mlflow.pyfunc.spark_udf of the model as MLflow saves it, with its own batch size.

    In local mode MLflow loads the model anew for every task, on a cluster once a worker. Here the
    workers are made to keep it, as on a cluster.
    """
    import mlflow.pyfunc

    spark.range(0, TASKS, 1, TASKS).mapInArrow(_keep_models, "id long", barrier=True).collect()
    score = mlflow.pyfunc.spark_udf(spark, logged, result_type="double", env_manager="local")
    return _column(score("text"))


def _keep_models(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import mlflow.pyfunc

    load, kept = mlflow.pyfunc.load_model, {}

    def load_once(uri: str, **settings: Any) -> Any:
        if uri not in kept:
            kept[uri] = load(uri, **settings)
        return kept[uri]

    mlflow.pyfunc.load_model = load_once
    BarrierTaskContext.get().barrier()  # or one worker could take both tasks
    yield from batches


def _column(probability: Column) -> Score:
    # By the digest, as ours does by itself: a worker gets the same chunks in every way.
    return lambda frame: frame.repartition(TASKS, "digest").select(
        "hadm_id", probability.alias("probability")
    )


@cache
def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@cache
def _model(folder: str, attention: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation=attention
    ).eval()


@cache
def _pipeline(folder: str) -> Any:
    from transformers import pipeline

    model = _model(folder, "sdpa")
    return pipeline("text-classification", model=model, tokenizer=_tokenizer(folder), device="cpu")
