"""Baselines on counted words and on text length, and word vectors for the BiLSTM.

As published, baselines read the same chunks as ClinicalBERT, and the same vote combines their
probabilities. Spark ML fits them on all executors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.feature import (
    IDF,
    CountVectorizer,
    NGram,
    Normalizer,
    RegexTokenizer,
    VectorAssembler,
    Word2Vec,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.notes.words import WORD

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)  # of the L2 norm; validation selects one

_MOST_FREQUENT = 5000  # words, as published
_TERMS = 20_000  # words, and as many pairs of words, for TF-IDF
_VECTOR = 100  # numbers a word, as published
_WORDS_A_PARTITION = 5_000_000  # of Word2Vec; more partitions are faster and less exact

Stages = list[Any]  # of a Spark ML pipeline: `text` in, `features` out


def bag_of_words() -> Stages:
    """Count the 5,000 most frequent words of the training text."""
    counts = CountVectorizer(inputCol="words", outputCol="features", vocabSize=_MOST_FREQUENT)
    return [_words(), counts]


def tf_idf() -> Stages:
    """Compute TF-IDF of words and of pairs of words; each chunk's vector has length 1."""
    pairs = NGram(n=2, inputCol="words", outputCol="pairs")
    counts = [
        CountVectorizer(inputCol=name, outputCol=f"{name}_n", vocabSize=_TERMS, minDF=2.0)
        for name in ("words", "pairs")
    ]
    assembled = VectorAssembler(inputCols=["words_n", "pairs_n"], outputCol="counts")
    weights = IDF(inputCol="counts", outputCol="weights")
    return [_words(), pairs, *counts, assembled, weights, Normalizer(inputCol="weights",
            outputCol="features")]  # fmt: skip


def length_only() -> Stages:
    """Use the logarithms of the number of notes, chunks and words, and no text."""
    return [VectorAssembler(inputCols=["n_notes", "n_chunks", "n_words"], outputCol="features")]


def length_rows(documents: DataFrame, chunks: DataFrame) -> DataFrame:
    """Return one row for each window and admission of `chunks`, with the input of `length_only`.

    documents: the table of prepare.
    """
    words = chunks.groupBy("window", "hadm_id", "part").agg(
        F.first("subject_id").alias("subject_id"),
        F.first("label").alias("label"),
        F.sum("n_words").alias("n_words"),
    )
    facts = documents.select("window", "hadm_id", "n_notes", "n_chunks")
    return words.join(facts, ["window", "hadm_id"]).select(
        "window",
        "subject_id",
        "hadm_id",
        F.lit(0).alias("chunk_index"),
        "label",
        "part",
        *(F.log1p(name).alias(name) for name in ("n_notes", "n_chunks", "n_words")),
    )


def fitted_features(stages: Stages, train: DataFrame, rows: DataFrame) -> DataFrame:
    """Fit the stages to `train` and return the `features` of all rows."""
    keys = ["window", "subject_id", "hadm_id", "chunk_index", "label", "part"]
    return Pipeline(stages=stages).fit(train).transform(rows).select(*keys, "features")


def logistic(
    train: DataFrame,
    rows: DataFrame,
    best_c: Callable[[DataFrame], tuple[float, float]],
    *,
    standardize: bool = True,
) -> tuple[DataFrame, float, float]:
    """Fit L2 logistic regression with the penalty and the vote's c that are best on validation.

    train: features and label. best_c: returns the best AUROC that probabilities reach on
    validation, and the c that reaches it. standardize: divide features by their spread; it would
    undo the weights of TF-IDF. Returns window, hadm_id, chunk_index, part and
    probability of `rows`; the penalty; c.
    """
    candidates = []
    for penalty in PENALTIES:
        regression = LogisticRegression(regParam=penalty, maxIter=100, standardization=standardize)
        model = _without_summary(regression.fit(train))
        probability = vector_to_array("probability")[1]
        scored = model.transform(rows.drop("label")).select(
            "window", "hadm_id", "chunk_index", "part", probability.alias("probability")
        )
        auroc, c = best_c(scored.where("part = 'validation'"))
        candidates.append((auroc, -penalty, c, scored))
    _, penalty, c, best = max(candidates, key=lambda candidate: candidate[:2])
    return best, -penalty, c


def _without_summary(model: LogisticRegressionModel) -> LogisticRegressionModel:
    """Remove the training summary. It holds the Spark session, which Spark 4 cannot send to
    executors once the session has observed a metric."""
    java_model = model._java_obj
    assert java_model is not None and SparkContext._jvm is not None  # fitted here
    java_model.setSummary(SparkContext._jvm.scala.Option.empty())
    return model


def word_vectors(
    text: DataFrame, n_words: int, seed: int
) -> tuple[Sequence[str], NDArray[np.float32]]:
    """Fit skip-gram vectors. Return the words with five occurrences or more, and their vectors.

    Vectors have the shape [n, 100].
    """
    model = Word2Vec(
        inputCol="words", outputCol="vector", vectorSize=_VECTOR, minCount=5, maxIter=5,
        numPartitions=1 + n_words // _WORDS_A_PARTITION, seed=seed,
    ).fit(_words().transform(text))  # fmt: skip
    rows = sorted(model.getVectors().collect())
    vectors = [row["vector"].toArray() for row in rows]
    return [row["word"] for row in rows], np.array(vectors, np.float32).reshape(-1, _VECTOR)


def _words() -> RegexTokenizer:
    return RegexTokenizer(inputCol="text", outputCol="words", gaps=False, pattern=f"(?U){WORD}")
