"""The models that a transformer has to beat, on the same chunks: counted words and mere length.

The published baselines read the chunks that ClinicalBERT reads, and their probabilities are put to
the same vote; so do these. Fitting is Spark ML's, on all executors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
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

PENALTIES = (0.001, 0.01, 0.1, 1.0)  # of the L2 norm; the best on validation is taken

_MOST_FREQUENT = 5000  # words, as published
_TERMS = 20_000  # words, and pairs of words, that TF-IDF weighs
_VECTOR = 100  # numbers a word, as published
_WORDS_A_PARTITION = 5_000_000  # of Word2Vec; more partitions are faster and blur the vectors

Stages = list[Any]  # of a Spark ML pipeline: `text` in, `features` out


def bag_of_words() -> Stages:
    """Counts of the 5,000 words that are most frequent in the training text."""
    counts = CountVectorizer(inputCol="words", outputCol="features", vocabSize=_MOST_FREQUENT)
    return [_words(), counts]


def tf_idf() -> Stages:
    """TF-IDF of words and of pairs of words; each chunk's vector has length 1."""
    pairs = NGram(n=2, inputCol="words", outputCol="pairs")
    counts = [
        CountVectorizer(inputCol=name, outputCol=f"{name}_n", vocabSize=_TERMS, minDF=2.0)
        for name in ("words", "pairs")
    ]
    together = VectorAssembler(inputCols=["words_n", "pairs_n"], outputCol="counts")
    weighed = IDF(inputCol="counts", outputCol="weights")
    return [_words(), pairs, *counts, together, weighed, Normalizer(inputCol="weights",
            outputCol="features")]  # fmt: skip


def length() -> Stages:
    """Nothing but how much was written: the logarithms of notes, chunks and words."""
    return [VectorAssembler(inputCols=["n_notes", "n_chunks", "n_words"], outputCol="features")]


def lengths(documents: DataFrame, chunks: DataFrame) -> DataFrame:
    """One row an admission in place of its chunks, with what `length` reads.

    documents: prepare's. chunks: those asked for.
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
    """`features` of all rows, by stages that are fitted to `train`."""
    keys = ["window", "subject_id", "hadm_id", "chunk_index", "label", "part"]
    return Pipeline(stages=stages).fit(train).transform(rows).select(*keys, "features")


def logistic(
    train: DataFrame, rows: DataFrame, best_c: Callable[[DataFrame], tuple[float, float]]
) -> tuple[DataFrame, float, float]:
    """L2 logistic regression: window, hadm_id, chunk_index, probability of `rows`; the penalty and
    the vote's c that are best on validation.

    train: features and label. best_c: the best AUROC that such probabilities reach on validation,
    and the c that reaches it.
    """
    found = []
    for penalty in PENALTIES:
        model = LogisticRegression(regParam=penalty, maxIter=100).fit(train)
        probability = vector_to_array("probability")[1]
        scored = model.transform(rows.drop("label")).select(
            "window", "hadm_id", "chunk_index", "part", probability.alias("probability")
        )
        auroc, c = best_c(scored.where("part = 'validation'"))
        found.append((auroc, -penalty, c, scored))
    _, penalty, c, best = max(found, key=lambda one: one[:2])
    return best, -penalty, c


def word_vectors(
    text: DataFrame, n_words: int, seed: int
) -> tuple[Sequence[str], NDArray[np.float32]]:
    """Words that occur five times or more, and their vectors [n, 100]: skip-gram, by Spark ML."""
    model = Word2Vec(
        inputCol="words", outputCol="vector", vectorSize=_VECTOR, minCount=5, maxIter=5,
        numPartitions=1 + n_words // _WORDS_A_PARTITION, seed=seed,
    ).fit(_words().transform(text))  # fmt: skip
    rows = sorted(model.getVectors().collect())
    vectors = [row["vector"].toArray() for row in rows]
    return [row["word"] for row in rows], np.array(vectors, np.float32).reshape(-1, _VECTOR)


def _words() -> RegexTokenizer:
    return RegexTokenizer(inputCol="text", outputCol="words", gaps=False, pattern=f"(?U){WORD}")
