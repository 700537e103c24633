"""The model of a night, and the keys that say which earlier results can be reused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from readmit_spark.config import Config
from readmit_spark.nightly.day_fits import DayFits, day_fits
from readmit_spark.notes.preparation import Preparation
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import ScorerSettings


@dataclass(frozen=True)
class ModelInUse:
    """The model of a night, its settings, and the keys of its results.

    c: of the vote. score_key: identifies everything that decides a chunk's probability; stored
    beside the chunk's digest. preparation: everything that decides a document's chunks.
    basis: a hash of everything that makes two patient scores comparable. fits: risks and thresholds
    for each day of a stay.
    """

    model: Model
    settings: ScorerSettings
    preparation: Preparation
    c: float
    score_key: str
    basis: str
    fits: DayFits


def model_in_use(config: Config, model: Model, settings: ScorerSettings) -> ModelInUse:
    """Return the model and keys that the nights of this configuration use.

    settings: the result of `scorer_settings`.
    """
    preparation = Preparation.of(config, model.tokenizer(config.model.max_tokens))
    score_key = (
        f"{model.name}@{model.fingerprint} {config.score.precision} {config.model.max_tokens}"
    )
    c = model.vote_c(config)
    # Each profile and each rule for windows reads different notes.
    notes = [config.profile, config.nightly.window, config.window_available]
    basis = json.dumps([score_key, preparation.key, c, *notes, config.window.days_before])
    return ModelInUse(
        model=model,
        # One chunk a batch: other chunks in a batch change the last bits of a probability, and a
        # chunk must get the same probability on any night.
        settings=replace(settings, batch_tokens=1),
        preparation=preparation,
        c=c,
        score_key=score_key,
        basis=hashlib.sha256(basis.encode()).hexdigest()[:12],
        fits=day_fits(config.nightly.window, model.risk_curves(config), model.alert_points(config)),
    )
