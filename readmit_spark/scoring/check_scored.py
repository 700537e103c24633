"""Check that the last scores were made by this model with this configuration."""

from __future__ import annotations

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.storage.manifests import Prepared, Scored


def check_scored(
    config: Config, model: Model, prepared: Prepared, scored: Scored
) -> ChunkTokenizer:
    """Return the tokenizer that the scores were made with.

    Raise a UserError if they were made with another model, other weights, chunks or precision.
    """
    if scored.model != model.name:
        raise UserError(f"model.path: the scores were made by {scored.model}, not by {model.name}")
    if scored.fingerprint != model.fingerprint:
        raise UserError(
            f"model.path: {model.name} has other weights than when it made the scores; run "
            "jobs/score.py again"
        )
    if scored.prepared != prepared.run:
        raise UserError(
            f"output.root: the scores under {config.output_root} are of another run of prepare; "
            "run jobs/score.py again"
        )
    _check_preparation(config, prepared)
    if scored.config.score.precision != config.score.precision:
        raise UserError(f"score.precision: jobs/score.py scored in {scored.config.score.precision}")
    tokenizer = model.tokenizer(config.model.max_tokens)
    if tokenizer.fingerprint != prepared.tokenizer:
        raise UserError("model.path: jobs/prepare.py was run with the tokenizer of another model")
    return tokenizer


def _check_preparation(config: Config, prepared: Prepared) -> None:
    if prepared.config.profile != config.profile:
        raise UserError(f"profile: jobs/prepare.py was run with {prepared.config.profile}")
    if prepared.text_rules != config.text_rules:
        settings = ", ".join(f"{k}={v}" for k, v in prepared.text_rules.settings().items())
        raise UserError(f"clean, chunk: jobs/prepare.py was run with {settings}")
    window = prepared.window_rule
    if window != (config.window_available, config.window.days_before):
        raise UserError(
            f"window: jobs/prepare.py was run with available {window[0]}, days_before {window[1]}"
        )
    if prepared.max_tokens != config.model.max_tokens:
        raise UserError(f"model.max_tokens: jobs/prepare.py was run with {prepared.max_tokens}")
