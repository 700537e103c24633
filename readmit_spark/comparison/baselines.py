"""The baselines, trained and tested on the chunks, split and balance of the transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison import bag_of_words as baselines
from readmit_spark.comparison.bilstm import Labelled, score_texts, train_bilstm
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.balance import training_sample
from readmit_spark.evaluation.metrics import why_no_curve
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.scoring.score_chunks import patient_scores
from readmit_spark.training.validation_scores import ChunkScores

NAMES = ("bag of words", "TF-IDF", "BiLSTM", "length only")

Keep = Callable[[DataFrame, str], DataFrame]
"""Writes a table for this run, and gives it back as written: it is read several times."""


@dataclass(frozen=True)
class Data:
    """trained: the window trained on. train: chunks of the balanced sample. asked: chunks of the
    validation set (in that window) and of the test set (in those to be measured). all_train: all
    chunks trained on, before balancing. Chunks have `part`: train, validation or test."""

    trained: str
    train: DataFrame
    asked: DataFrame
    all_train: DataFrame
    documents: DataFrame
    cohort: DataFrame

    @property
    def rows(self) -> DataFrame:
        return self.train.unionByName(self.asked)


def data_of(
    spark: SparkSession,
    config: Config,
    prepared: dict[str, Any],
    trained: str,
    tested: Sequence[str],
    fold: int | None,
) -> Data:
    """What one training reads. `fold`: the one held out as the test set; None: the split."""
    chunks, documents, cohort = (
        spark.read.parquet(f"{prepared['path']}/{name}")
        for name in ("chunks", "documents", "cohort")
    )
    chunks = chunks.where(F.col("label").isNotNull()).join(
        cohort.select("hadm_id", _part(fold).alias("part")), "hadm_id"
    )
    here = F.col("window") == trained
    all_train = chunks.where(here & (F.col("part") == "train"))
    asked = chunks.where(
        (here & (F.col("part") == "validation"))
        | (F.col("window").isin(list(tested)) & (F.col("part") == "test"))
    )
    counts = all_train.groupBy("hadm_id").agg(F.first("label"), F.count(F.lit(1))).collect()
    ids, labels, n_chunks = zip(*sorted(counts), strict=True) if counts else ((), (), ())
    if reason := why_no_curve(labels):
        raise UserError(f"no model can be trained on {trained}, as there is {reason}")
    kept = training_sample(ids, labels, n_chunks, config.train.seed)
    sample = spark.createDataFrame(
        [(int(i),) for i, keep in zip(ids, kept, strict=True) if keep], "hadm_id long"
    )
    train = all_train.join(F.broadcast(sample), "hadm_id", "left_semi")
    return Data(trained, train, asked, all_train, documents, cohort)


def baseline_scores(
    name: str, data: Data, config: Config, keep: Keep, say: Callable[[str], None]
) -> DataFrame:
    """Test admissions as `patient_scores` has them, by the baseline of this name: with the c of
    `tune.vote_c` that is best on validation, as for the transformer."""

    def on_validation(scores: DataFrame) -> tuple[float, float]:
        return best_c(scores, data.cohort, config)

    def tested(scores: DataFrame, c: float) -> DataFrame:
        mine = scores.where("part = 'test'").drop("part")
        windows = [row["window"] for row in mine.select("window").distinct().collect()]
        say(f"{name}, {data.trained}: votes with c {c:g}")
        return patient_scores(mine, data.cohort, windows, c)

    if name == "BiLSTM":
        scores = keep(_bilstm(data, config, say), "bilstm")
        return tested(scores, on_validation(scores.where("part = 'validation'"))[1])
    if name == "length only":
        rows = keep(baselines.lengths(data.documents, data.rows), "lengths")
        stages = baselines.length()
    else:
        rows = data.rows
        stages = {"bag of words": baselines.bag_of_words, "TF-IDF": baselines.tf_idf}[name]()
    train = rows.where(F.col("part") == "train")
    features = keep(baselines.fitted_features(stages, train, rows), name.replace(" ", "_"))
    scores, penalty, c = baselines.logistic(
        features.where(F.col("part") == "train"),
        features.where(F.col("part") != "train"),
        on_validation,
    )
    say(f"{name}, {data.trained}: L2 penalty {penalty:g} chosen on validation")
    return tested(scores, c)


def best_c(scores: DataFrame, cohort: DataFrame, config: Config) -> tuple[float, float]:
    """The best AUROC of the admissions of these chunks, and the c of the vote that reaches it: of
    `tune.vote_c`, else `vote.c`. The first of equals."""
    known = scores.join(cohort.select("hadm_id", "subject_id", "label"), "hadm_id")
    rows: pd.DataFrame = known.orderBy("hadm_id", "chunk_index").toPandas()
    chunks = ChunkScores(
        rows.subject_id.to_numpy(), rows.hadm_id.to_numpy(), rows.label.to_numpy("int64"),
        rows.probability.to_numpy(),
    )  # fmt: skip
    found = []
    for c in config.tune.vote_c or (config.vote.c or PUBLISHED_C,):
        auroc = chunks.vote(c).auroc()
        if auroc is None:
            reason = why_no_curve(chunks.labels)
            raise UserError(f"no baseline can be chosen on validation, as there is {reason}")
        found.append((auroc, c))
    return max(found, key=lambda one: one[0])


def _bilstm(data: Data, config: Config, say: Callable[[str], None]) -> DataFrame:
    n_words = data.all_train.agg(F.sum("n_words")).collect()[0][0]
    vocabulary, vectors = baselines.word_vectors(data.all_train, n_words, config.train.seed)
    say(f"BiLSTM, {data.trained}: vectors of {len(vocabulary):,} words")
    train, asked = _texts(data.train), _texts(data.asked)
    validation = asked[asked.part == "validation"]
    model = train_bilstm(
        vocabulary, vectors, _labelled(train), _labelled(validation), config.train.seed,
        lambda line: say(f"BiLSTM, {data.trained}: {line}"),
    )  # fmt: skip
    scored = asked.drop(columns=["text", "label"])
    scored["probability"] = score_texts(model, asked.text.tolist())
    schema = "window string, hadm_id long, chunk_index int, part string, probability double"
    return data.cohort.sparkSession.createDataFrame(scored, schema)


def _texts(chunks: DataFrame) -> pd.DataFrame:
    order = ["window", "hadm_id", "chunk_index"]
    rows: pd.DataFrame = chunks.select(*order, "part", "text", "label").toPandas()
    return rows.sort_values(order, ignore_index=True)


def _labelled(rows: pd.DataFrame) -> Labelled:
    return Labelled(rows.text.tolist(), rows.label.to_numpy(dtype="int64"))


def _part(fold: int | None) -> Any:
    """As `models.shards.admissions_of` has it."""
    if fold is None:
        return F.col("split")
    validates = F.when(F.col("split") == "validation", "validation").otherwise("train")
    return F.when(F.col("fold") == fold, "test").otherwise(validates)
