"""The last scores, and whether this configuration and model are those that made them."""

from __future__ import annotations

from typing import Any

from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import Located, fingerprint


def check_scored(
    config: Config, located: Located, prepared: dict[str, Any], scored: dict[str, Any]
) -> ChunkTokenizer:
    """The tokenizer that the scores were made with. UserError where their model, its weights, the
    chunks or the precision were others. prepared, scored: the manifests of prepare and score."""
    if scored["model"] != located.name:
        raise UserError(
            f"model.path: the scores were made by {scored['model']}, not by {located.name}"
        )
    if scored.get("fingerprint") != fingerprint(located.folder):
        raise UserError(
            f"model.path: {located.name} has other weights than when it made the scores; run "
            "jobs/score.py again"
        )
    if scored["prepared"] != prepared["run"]:
        raise UserError(
            f"output.root: the scores under {config.output_root} are of another run of prepare; "
            "run jobs/score.py again"
        )
    made = prepared["config"]
    if made["chunk"] != to_dict(config)["chunk"]:
        raise UserError(f"chunk: jobs/prepare.py was run with {made['chunk']}")
    if made["profile"] != config.profile:
        raise UserError(f"profile: jobs/prepare.py was run with {made['profile']}")
    if made["model"]["max_tokens"] != config.model.max_tokens:
        raise UserError(
            f"model.max_tokens: jobs/prepare.py was run with {made['model']['max_tokens']}"
        )
    if scored["config"]["score"]["precision"] != config.score.precision:
        raise UserError(
            f"score.precision: jobs/score.py scored in {scored['config']['score']['precision']}"
        )
    tokenizer = load_tokenizer(located.folder, config.model.max_tokens)
    if tokenizer.fingerprint != prepared["tokenizer"]:
        raise UserError("model.path: jobs/prepare.py was run with the tokenizer of another model")
    return tokenizer
