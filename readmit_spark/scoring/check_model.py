"""Check a model before it scores or trains. Without torch, so that scoring starts sooner."""

from __future__ import annotations

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.precision_probe import PrecisionProbe
from readmit_spark.storage.manifests import Prepared
from readmit_spark.text_rules import PUBLISHED, TextRules

SAMPLE = 256  # chunks at least, of whole patients, on which 16 bits are compared with fp32
_MAX_FLIPS = 0.02  # share of these patients whose alert may change


def check_tokens(model: Model, prepared: Prepared) -> None:
    """Raise a UserError if the chunks were tokenised for another model."""
    if model.tokenizer(prepared.max_tokens).fingerprint != prepared.tokenizer:
        raise UserError(
            f"model.path: {model.name} has another tokenizer than the one that made the chunks in "
            f"{prepared.path}; run jobs/prepare.py with this model.path"
        )


def check_fitted_chunks(model: Model, max_tokens: int, rules: TextRules) -> None:
    """Raise a UserError if the model was fine-tuned on chunks of another length or other rules.

    A model that an earlier version fine-tuned does not know its rules, but texts were cleaned as
    published then.
    """
    fitted = model.fitted
    if fitted and fitted.max_tokens != max_tokens:
        raise UserError(
            f"model.max_tokens: the chunks have up to {max_tokens} tokens, and {model.name} was "
            f"fine-tuned on chunks of {fitted.max_tokens}: set model.max_tokens="
            f"{fitted.max_tokens}, for jobs/prepare.py too"
        )
    if fitted and fitted.rules is None and rules.cleaning != PUBLISHED:
        raise UserError(
            f"clean: {model.name} was fine-tuned by an earlier version, on texts cleaned as "
            f"published, and these are {rules.title(max_tokens)}: fine-tune it again"
        )
    if fitted and fitted.rules and fitted.rules != rules:
        own, here = fitted.rules.settings(), rules.settings()
        changes = [f"{key}={value}" for key, value in own.items() if here.get(key) != value]
        raise UserError(
            f"clean, chunk: {model.name} was fine-tuned on {fitted.rules.title(max_tokens)}, and "
            f"these are {rules.title(max_tokens)}: set {', '.join(changes)}, for jobs/prepare.py "
            "too"
        )


def check_unseen(model: Model, split: str | None) -> bool:
    """Raise a UserError if the model was trained with another split, so has seen test patients.

    split: `Prepared.split_name`; None in cross-validation, which tests every patient. Return False
    if it is unknown which patients the model was trained on, else True.
    """
    trained_with = model.seen_split
    if trained_with is not None and split is None:
        raise UserError(
            f"model.path: {model.name} was trained on patients whom the folds test; start from a "
            "model that has seen none of them"
        )
    if trained_with not in (None, split):
        raise UserError(
            f"model.path: {model.name} was trained with the split `{trained_with}`, and the data "
            f"have `{split}`: it has seen test patients; prepare with the same split.seed and "
            "split.level, or train again"
        )
    return trained_with is not None


def check_before_test(model: Model, prepared: Prepared, progress: Progress) -> bool:
    """Call `check_tokens` and `check_unseen` for a model that will score test patients.

    Return False, and print a line, if it is unknown whether the model has seen them; else True.
    """
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
    """Print the backend and how much a 16-bit precision moves probabilities away from fp32.

    threshold: of patient scores. Raise a UserError if it moves a probability by more than
    score.max_probability_shift, or changes the alerts of more than 2 % of the patients.
    """
    progress.say(f"scoring with {probe.backend}; ready in {probe.load_seconds:.1f} s")
    if not probe.n:
        return
    progress.say(
        f"{config.score.precision} compared with fp32 on {probe.n} chunks: probabilities move by "
        f"at most {probe.max_shift:.4f}; {probe.flips} of {probe.patients} patients cross the "
        f"alert threshold of {threshold:.3f}"
    )
    if not probe.max_shift <= config.score.max_probability_shift:  # true of nan as well
        raise UserError(
            f"score.precision={config.score.precision} moves a probability by "
            f"{probe.max_shift:.4f}, and score.max_probability_shift allows "
            f"{config.score.max_probability_shift}; use fp32, or allow more"
        )
    if probe.flips > _MAX_FLIPS * probe.patients:
        raise UserError(
            f"score.precision={config.score.precision} changes the alerts of {probe.flips} of "
            f"{probe.patients} patients at the threshold of {threshold:.3f}; use fp32"
        )
