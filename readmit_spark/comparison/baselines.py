"""Train and score the baselines on the same chunks, split and balance as the transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.comparison.bag_of_words import (
    PENALTIES,
    bag_of_words,
    fitted_features,
    length_only,
    length_rows,
    logistic,
    tf_idf,
    word_vectors,
)
from readmit_spark.comparison.bilstm import Labelled, score_texts, train_bilstm
from readmit_spark.comparison.structured import structured, structured_rows
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.balance import training_sample
from readmit_spark.evaluation.curves import why_no_curve
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.scoring.score_chunks import patient_scores
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.training.validation_scores import ChunkScores

NAMES = ("bag of words", "TF-IDF", "BiLSTM", "structured", "length only")

SaveTemp = Callable[[DataFrame, str], DataFrame]
"""Writes a temporary table and returns it as read from there, because it is used several times."""


@dataclass(frozen=True)
class BaselineData:
    """What the baselines of one training read. Chunks have `part`: train, validation or test.

    train_window: the window of the training chunks. train: chunks of the balanced sample.
    all_train: training chunks before balancing. to_score: validation chunks in train_window, and
    test chunks in all measured windows.
    """

    train_window: str
    train: DataFrame
    to_score: DataFrame
    all_train: DataFrame
    documents: DataFrame
    cohort: DataFrame
    subgroups: DataFrame

    @property
    def chunks(self) -> DataFrame:
        """Training chunks and chunks to score."""
        return self.train.unionByName(self.to_score)


def read_baseline_data(
    run: Run,
    prepared: Prepared,
    train_window: str,
    test_windows: Sequence[str],
    fold: int | None,
) -> BaselineData:
    """Read what one training needs.

    fold: the fold that is the test set; None uses the split. Raises UserError if the training
    admissions have only one label.
    """
    documents, cohort = prepared.table("documents"), prepared.table("cohort")
    chunks = (
        prepared.table("chunks")
        .where(F.col("label").isNotNull())
        .join(cohort.select("hadm_id", _part(fold).alias("part")), "hadm_id")
    )
    in_train_window = F.col("window") == train_window
    all_train = chunks.where(in_train_window & (F.col("part") == "train"))
    to_score = chunks.where(
        (in_train_window & (F.col("part") == "validation"))
        | (F.col("window").isin(list(test_windows)) & (F.col("part") == "test"))
    )
    counts = all_train.groupBy("hadm_id").agg(F.first("label"), F.count(F.lit(1))).collect()
    ids, labels, n_chunks = zip(*sorted(counts), strict=True) if counts else ((), (), ())
    if reason := why_no_curve(labels):
        raise UserError(f"no model can be trained on {train_window}, as there is {reason}")
    selected = training_sample(ids, labels, n_chunks, run.config.train.seed)
    sample = run.spark.createDataFrame(
        [(int(i),) for i, take in zip(ids, selected, strict=True) if take], "hadm_id long"
    )
    train = all_train.join(F.broadcast(sample), "hadm_id", "left_semi")
    subgroups = prepared.table("subgroups")
    return BaselineData(train_window, train, to_score, all_train, documents, cohort, subgroups)


def baseline_scores(
    name: str, data: BaselineData, config: Config, save_temp: SaveTemp, say: Callable[[str], None]
) -> DataFrame:
    """Train a baseline and return its scores of the test admissions, as `patient_scores` does.

    name: one of NAMES. As for the transformer, c of the vote is the value of `tune.vote_c` that is
    best on validation.
    """

    def validation_c(scores: DataFrame) -> tuple[float, float]:
        return best_c(scores, data.cohort, config)

    def test_scores(scores: DataFrame, c: float) -> DataFrame:
        test = scores.where("part = 'test'").drop("part")
        windows = [row["window"] for row in test.select("window").distinct().collect()]
        say(f"{name}, {data.train_window}: votes with c {c:g}")
        return patient_scores(test, data.cohort, windows, c)

    if name == "BiLSTM":
        scores = save_temp(_bilstm(data, config, say), "bilstm")
        return test_scores(scores, validation_c(scores.where("part = 'validation'"))[1])
    if name == "length only":
        rows = save_temp(length_rows(data.documents, data.chunks), "lengths")
        stages = length_only()
    elif name == "structured":
        rows = save_temp(structured_rows(data.cohort, data.subgroups, data.chunks), "stays")
        stages = structured()
    else:
        rows = data.chunks
        stages = {"bag of words": bag_of_words, "TF-IDF": tf_idf}[name]()
    train = rows.where(F.col("part") == "train")
    features = save_temp(fitted_features(stages, train, rows), name.replace(" ", "_"))
    scores, penalty, c = logistic(
        features.where(F.col("part") == "train"),
        features.where(F.col("part") != "train"),
        validation_c,
        standardize=name != "TF-IDF",
    )
    edge = ", the edge of those tried" if penalty in (min(PENALTIES), max(PENALTIES)) else ""
    say(f"{name}, {data.train_window}: L2 penalty {penalty:g} chosen on validation{edge}")
    return test_scores(scores, c)


def best_c(scores: DataFrame, cohort: DataFrame, config: Config) -> tuple[float, float]:
    """Return the best AUROC that these chunks' admissions reach, and the c that reaches it.

    Tries `tune.vote_c`, else `vote.c`. Of equal values the first wins. Raises UserError if the
    admissions have only one label.
    """
    labelled = scores.join(cohort.select("hadm_id", "subject_id", "label"), "hadm_id")
    rows: pd.DataFrame = labelled.orderBy("hadm_id", "chunk_index").toPandas()
    chunks = _chunk_scores(rows, rows.probability.to_numpy())
    candidates = []
    for c in config.tune.vote_c or (config.vote.c or PUBLISHED_C,):
        auroc = chunks.vote(c).auroc()
        if auroc is None:
            reason = why_no_curve(chunks.labels)
            raise UserError(f"no baseline can be chosen on validation, as there is {reason}")
        candidates.append((auroc, c))
    return max(candidates, key=lambda candidate: candidate[0])


def _bilstm(data: BaselineData, config: Config, say: Callable[[str], None]) -> DataFrame:
    n_words = data.all_train.agg(F.sum("n_words")).collect()[0][0]
    vocabulary, vectors = word_vectors(data.all_train, n_words, config.train.seed)
    say(f"BiLSTM, {data.train_window}: vectors of {len(vocabulary):,} words")
    train, to_score = _texts(data.train), _texts(data.to_score)
    validation = to_score[to_score.part == "validation"]
    c = config.vote.c or PUBLISHED_C

    def validation_auroc(probabilities: NDArray[np.float64]) -> float:
        return _chunk_scores(validation, probabilities).vote(c).auroc() or 0.5

    model = train_bilstm(
        vocabulary, vectors, _labelled(train), validation.text.tolist(), validation_auroc,
        config.train.seed, lambda line: say(f"BiLSTM, {data.train_window}: {line}"),
    )  # fmt: skip
    scored = to_score.drop(columns=["text", "label", "subject_id"])
    scored["probability"] = score_texts(model, to_score.text.tolist())
    schema = "window string, hadm_id long, chunk_index int, part string, probability double"
    return data.cohort.sparkSession.createDataFrame(scored, schema)


def _chunk_scores(rows: pd.DataFrame, probabilities: NDArray[np.float64]) -> ChunkScores:
    """rows: subject_id, hadm_id and label of each chunk, in the order of hadm_id."""
    return ChunkScores(
        rows.subject_id.to_numpy(), rows.hadm_id.to_numpy(), rows.label.to_numpy("int64"),
        probabilities,
    )  # fmt: skip


def _texts(chunks: DataFrame) -> pd.DataFrame:
    order = ["window", "hadm_id", "chunk_index"]
    rows: pd.DataFrame = chunks.select(*order, "subject_id", "part", "text", "label").toPandas()
    return rows.sort_values(order, ignore_index=True)


def _labelled(rows: pd.DataFrame) -> Labelled:
    return Labelled(rows.text.tolist(), rows.label.to_numpy(dtype="int64"))


def _part(fold: int | None) -> Any:
    """Return the column with an admission's part, as a training assigns it."""
    if fold is None:
        return F.col("split")
    validates = F.when(F.col("split") == "validation", "validation").otherwise("train")
    return F.when(F.col("fold") == fold, "test").otherwise(validates)
