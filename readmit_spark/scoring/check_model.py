"""Checks of a model before it scores or trains. Without torch, so that scoring starts sooner."""

from __future__ import annotations

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import PrecisionProbe
from readmit_spark.storage.manifests import Prepared

SAMPLE = 64  # chunks on which a 16-bit precision is compared with fp32


def check_tokens(model: Model, prepared: Prepared) -> None:
    """UserError where the chunks were tokenised for another model."""
    if model.tokenizer(prepared.max_tokens).fingerprint != prepared.tokenizer:
        raise UserError(
            f"model.path: {model.name} has another tokenizer than the one that made the chunks in "
            f"{prepared.path}; run jobs/prepare.py with this model.path"
        )


def check_unseen(model: Model, split: str | None) -> bool:
    """UserError where the model was trained with another split, so it has seen test patients.

    split: `Prepared.split_name`; None stands for cross-validation, which tests every patient.
    Returns False where nobody knows whom the model was trained on.
    """
    seen = model.seen_split
    if seen is not None and split is None:
        raise UserError(
            f"model.path: {model.name} was trained on patients whom the folds test; start from a "
            "model that has seen none of them"
        )
    if seen not in (None, split):
        raise UserError(
            f"model.path: {model.name} was trained with the split `{seen}`, and the data have "
            f"`{split}`: it has seen test patients; prepare with the same split.seed and "
            "split.level, or train again"
        )
    return seen is not None


def check_before_test(model: Model, prepared: Prepared, progress: Progress) -> bool:
    """`check_tokens` and `check_unseen`, for a model that will score test patients. Returns False,
    and says so, where nobody knows whether it has seen them."""
    check_tokens(model, prepared)
    unseen = check_unseen(model, prepared.split_name)
    if not unseen:
        progress.say(
            f"{model.name}: nobody knows which patients it was trained on; patients of the test "
            "split may be among them"
        )
    return unseen


def check_precision(
    config: Config, probe: PrecisionProbe, threshold: float, progress: Progress
) -> None:
    """Say what scores, and how far a 16-bit precision is from fp32; UserError where too far."""
    progress.say(f"scoring with {probe.backend}; ready in {probe.load_seconds:.1f} s")
    if not probe.n:
        return
    progress.say(
        f"{config.score.precision} compared with fp32 on {probe.n} chunks: probabilities move by "
        f"at most {probe.max_shift:.4f}, {probe.flips} decisions at {threshold:.3f} flip"
    )
    if not probe.max_shift <= config.score.max_probability_shift:  # true of nan as well
        raise UserError(
            f"score.precision={config.score.precision} moves a probability by "
            f"{probe.max_shift:.4f}, and score.max_probability_shift allows "
            f"{config.score.max_probability_shift}; use fp32, or allow more"
        )
