"""What a night's scores are made with, and the keys by which they can be used again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.nightly.alerts import AlertRule, alert_rule
from readmit_spark.nightly.night_chunks import preparation_key
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import alert_threshold, read_learnt, vote_c
from readmit_spark.scoring.fitted import Learnt
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import Located, fingerprint
from readmit_spark.scoring.score_chunks import ScorerSettings, check_gpus
from readmit_spark.scoring.scorer_settings import check_scorer, scorer_settings


@dataclass(frozen=True)
class Made:
    """model: what a chunk's score is stored under, beside its digest: name, weights, precision and
    max_tokens. preparation: what decides a document's chunks. basis: all that makes two scores of a
    patient comparable."""

    folder: str
    settings: ScorerSettings
    tokenizer: ChunkTokenizer
    learnt: Learnt | None
    alert: AlertRule
    c: float
    model: str
    preparation: str
    basis: str


def made_with(spark: SparkSession, config: Config, located: Located) -> Made:
    """UserError where the model was made for chunks of another length, or the alert rule asks for
    what it did not learn."""
    learnt = read_learnt(located.folder)
    if learnt and learnt.max_tokens != config.model.max_tokens:
        raise UserError(
            f"model.max_tokens is {config.model.max_tokens}, and {located.name} was fine-tuned on "
            f"chunks of {learnt.max_tokens}: set model.max_tokens={learnt.max_tokens}"
        )
    check_gpus(spark)
    nightly, score = config.nightly, config.score
    tokenizer = load_tokenizer(located.folder, config.model.max_tokens)
    model = (
        f"{located.name}@{fingerprint(located.folder)} {score.precision} {config.model.max_tokens}"
    )
    preparation = preparation_key(config.chunk, tokenizer)
    c = vote_c(config, located.folder)
    basis = json.dumps([model, preparation, nightly.window, c])
    return Made(
        folder=located.folder,
        # One chunk a pass: what shares a pass moves the last bits of a probability, and a chunk
        # that is scored on its own night must get what it would have got on any other.
        settings=replace(scorer_settings(spark, config, located), batch_tokens=1),
        tokenizer=tokenizer,
        learnt=learnt,
        alert=alert_rule(nightly.alert, nightly.alert_value, nightly.window, learnt),
        c=c,
        model=model,
        preparation=preparation,
        basis=hashlib.sha256(basis.encode()).hexdigest()[:12],
    )


def check_numbers(chunks: DataFrame, made: Made, config: Config, progress: Progress) -> str:
    """`check_scorer` at the night's alert threshold."""
    threshold = made.alert.threshold
    if threshold is None:
        threshold = alert_threshold(config, made.folder, [config.nightly.window])
    return check_scorer(config, made.settings, chunks, threshold, progress)
