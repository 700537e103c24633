"""The model of a night, and the keys that say which earlier results can be reused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from readmit_spark.errors import UserError
from readmit_spark.nightly.night_chunks import preparation_key
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import ScorerSettings, check_gpus
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.storage.run import Run


@dataclass(frozen=True)
class ModelInUse:
    """score_key: names everything that decides a chunk's probability; stored beside its digest.
    preparation: names everything that decides a document's chunks. basis: names everything that
    makes two patient scores comparable. c: of the vote."""

    model: Model
    settings: ScorerSettings
    tokenizer: ChunkTokenizer
    c: float
    score_key: str
    preparation: str
    basis: str


def model_in_use(run: Run, model: Model) -> ModelInUse:
    """What the nights of this configuration score with. UserError where the model was fine-tuned on
    chunks of another length."""
    config = run.config
    fitted = model.fitted
    if fitted and fitted.max_tokens != config.model.max_tokens:
        raise UserError(
            f"model.max_tokens is {config.model.max_tokens}, and {model.name} was fine-tuned on "
            f"chunks of {fitted.max_tokens}: set model.max_tokens={fitted.max_tokens}"
        )
    check_gpus(run.spark)
    tokenizer = model.tokenizer(config.model.max_tokens)
    score_key = (
        f"{model.name}@{model.fingerprint} {config.score.precision} {config.model.max_tokens}"
    )
    preparation = preparation_key(config.chunk, tokenizer)
    c = model.vote_c(config)
    # Each profile reads other notes. The default adds nothing, so that its earlier keys hold.
    profile = [config.profile] if config.profile != "default" else []
    basis = json.dumps([score_key, preparation, config.nightly.window, c, *profile])
    return ModelInUse(
        model=model,
        # One chunk a batch: the other chunks of a batch move the last bits of a probability, and a
        # chunk must get the same probability on any night.
        settings=replace(scorer_settings(run, model), batch_tokens=1),
        tokenizer=tokenizer,
        c=c,
        score_key=score_key,
        preparation=preparation,
        basis=hashlib.sha256(basis.encode()).hexdigest()[:12],
    )
