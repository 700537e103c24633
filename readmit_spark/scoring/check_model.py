"""What is asked of a model before it scores or trains. Without torch: scoring starts sooner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from readmit_spark.config import Config, split_name
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import Located
from readmit_spark.scoring.score_chunks import PrecisionProbe

SEEN = "readmit_split"  # in a model's configuration: the split whose training patients it knows
SAMPLE = 64  # chunks that a 16-bit precision is held against fp32 on


def check_tokens(config: Config, located: Located, prepared: dict[str, Any]) -> None:
    """UserError where the chunks were tokenised for another model than `located`."""
    tokenizer = load_tokenizer(located.folder, prepared["config"]["model"]["max_tokens"])
    if tokenizer.fingerprint != prepared["tokenizer"]:
        raise UserError(
            f"model.path: {located.name} has another tokenizer than the one the chunks under "
            f"{config.output_root} were made with; run jobs/prepare.py with this model.path"
        )


def check_unseen(located: Located, split: str | None) -> bool:
    """UserError where the model was trained with another split than this one, so that it knows test
    patients; None stands for folds, in which everybody is tested. False where nobody knows whom it
    was trained on: a model from elsewhere."""
    file = Path(located.folder) / "config.json"
    seen = json.loads(file.read_text()).get(SEEN) if file.exists() else None
    if seen is not None and split is None:
        raise UserError(
            f"model.path: {located.name} was trained on patients whom the folds test; "
            "start from a model that has seen none of them"
        )
    if seen not in (None, split):
        raise UserError(
            f"model.path: {located.name} was trained with the split `{seen}`, and the data have "
            f"`{split}`: it knows test patients; prepare with the same split.seed and split.level, "
            "or train again"
        )
    return seen is not None


def check_before_test(
    config: Config, located: Located, prepared: dict[str, Any], progress: Progress
) -> bool:
    """`check_tokens` and `check_unseen`, for a model that is to score test patients; says so where
    nobody knows whether it has seen them, and gives False then."""
    check_tokens(config, located, prepared)
    unseen = check_unseen(located, split_name(prepared["config"]))
    if not unseen:
        progress.say(
            f"{located.name}: nobody knows which patients it was trained on; those of the test "
            "split may be among them"
        )
    return unseen


def check_precision(
    config: Config, found: PrecisionProbe, threshold: float, progress: Progress
) -> None:
    """Says what scores, and how far a 16-bit precision is from fp32; UserError where too far."""
    progress.say(f"scoring with {found.backend}; ready in {found.load_seconds:.1f} s")
    if not found.n:
        return
    progress.say(
        f"{config.score.precision} against fp32 on {found.n} chunks: probabilities move by at most "
        f"{found.max_shift:.4f}, {found.flips} decisions at {threshold:.3f} flip"
    )
    if not found.max_shift <= config.score.max_probability_shift:  # also where it is no number
        raise UserError(
            f"score.precision={config.score.precision} moves a probability by "
            f"{found.max_shift:.4f}, and score.max_probability_shift allows "
            f"{config.score.max_probability_shift}; use fp32, or allow more"
        )
