"""Fine-tune a model on the chunks of a window and register it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from readmit_spark.config import Config
from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.card import model_card
from readmit_spark.evaluation.card_page import card_page, card_summary
from readmit_spark.evaluation.doubts import doubts
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.pages.html import window_title
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_tokens, check_unseen
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.load_tokenizer import read_tokenizer
from readmit_spark.scoring.mlflow_run import TRAINING, job_run
from readmit_spark.scoring.model import SEEN_SPLIT, Model
from readmit_spark.scoring.registry import CHAMPION, is_registered, nested_run, register
from readmit_spark.storage.manifests import Prepared
from readmit_spark.training.checkpoints import load_best_model
from readmit_spark.training.choose_model import (
    Candidate,
    choose,
    delete_checkpoints,
    repeat,
    spread_of_seeds,
    training_key,
    training_plan,
)
from readmit_spark.training.launch import Launch, train_here
from readmit_spark.training.loop import Log, progress_line
from readmit_spark.training.plan import TrainingPlan
from readmit_spark.training.shards import ChunkIndex, Part, read_part

STAGES = 3
_TRAINING = "training"  # in a version's metadata: hash of everything that decided the training


def finetune_and_register(
    config: Config,
    model: Model,
    prepared: Prepared,
    progress: Progress,
    launch: Launch = train_here,
) -> tuple[str, str]:
    """Fine-tune `model` on the prepared chunks and register the result. Return name/version and the
    alias: champion or challenger."""
    prepared.check_codes()
    prepared.check_notes(config.train.window)
    check_tokens(model, prepared)
    check_unseen(model, prepared.split_name)
    with progress.stage("chunks"):
        plan = training_plan(config, model, prepared, config.train.learning_rate)
        train = _index(plan, "train").balanced_sample(plan.settings.seed)
        validation = _index(plan, "validation")
        progress.say(f"train {_counts(train)}; validation {_counts(validation)}")
        progress.say(f"trains on documents of {', '.join(plan.train_windows)}")
    with job_run(config, f"finetune-{config.train.window}", TRAINING) as mlflow:
        mlflow.log_params(
            {
                "data.train": train.fingerprint(),
                "data.validation": validation.fingerprint(),
                "data.tokenizer": prepared.tokenizer,
            }
        )
        with progress.stage("train"):

            def watch(plan: TrainingPlan) -> AbstractContextManager[tuple[Log, Log]]:
                return _watch(mlflow, config, plan, progress)

            best, candidates = choose(config, model, prepared, launch, watch)
            repeated = repeat(config, model, prepared, launch, watch, best)
            spread = spread_of_seeds(best, repeated)
            if spread:
                progress.say(f"validation AUROC {spread}")
        with progress.stage("register"):
            fitted = best.fitted(prepared)
            reasons = doubts(fitted.evidence, None)
            _log_choice(mlflow, best, config, fitted, progress)
            name, alias = _register(mlflow, best, config, model, prepared, fitted, reasons)
            _log_card(mlflow, name, best, config, prepared, model.name, spread, fitted, reasons)
            delete_checkpoints([*candidates, *repeated])
    _say_doubts(progress, name, alias, reasons)
    return name, alias


def _say_doubts(progress: Progress, name: str, alias: str, reasons: Sequence[str]) -> None:
    for reason in reasons:
        progress.say(f"warning: {reason}")
    if reasons and alias == CHAMPION:
        progress.say(
            f"warning: {name} is the champion only because it is the first version; its lists, "
            "reports and cards repeat these warnings"
        )


def _log_choice(
    mlflow: Any, best: Candidate, config: Config, fitted: FittedSettings, progress: Progress
) -> None:
    """Print and log which training was chosen; log its fitted settings and pictures."""
    rate = best.plan.settings.learning_rate
    progress.say(
        f"validation AUROC {best.aurocs[best.c]:.3f} with learning rate {rate:g}, "
        f"c {best.c:g}, after step {best.trained.best_step}"
    )
    chosen = {"learning_rate": rate, "vote_c": best.c, "step": best.trained.best_step}
    mlflow.log_params({f"chosen.{k}": v for k, v in chosen.items()})
    mlflow.log_dict(fitted.to_dict(), "learnt.json")
    _log_pictures(mlflow, best, config)


def _register(
    mlflow: Any,
    best: Candidate,
    config: Config,
    base: Model,
    prepared: Prepared,
    fitted: FittedSettings,
    reasons: Sequence[str],
) -> tuple[str, str]:
    """Register the best model. Its config.json holds the split it has seen and the fitted settings.
    Return name/version and the alias."""
    weights = load_best_model(best.plan)
    setattr(weights.config, SEEN_SPLIT, prepared.split_name)
    setattr(weights.config, KEY, fitted.to_dict())
    return register(
        mlflow,
        weights,
        read_tokenizer(base.folder),
        config.model.name,
        {
            "window": config.train.window,
            "max_tokens": prepared.max_tokens,
            "from": base.name,
            "split": prepared.split_name,
            _TRAINING: _key(config, base, prepared),
        },
        doubts=reasons,
    )


def is_finetuned(config: Config, model: Model, prepared: Prepared) -> bool:
    """Return whether the champion or the challenger is what this job would register."""
    key = _key(config, model, prepared)
    return is_registered(config.tracking_uri, config.model.name, _TRAINING, key)


def _key(config: Config, model: Model, prepared: Prepared) -> str:
    seeds = [config.train.seeds] if config.train.seeds else []
    return training_key(config, model, prepared, asdict(config.tune), *seeds)


def _log_card(
    mlflow: Any,
    name: str,
    best: Candidate,
    config: Config,
    prepared: Prepared,
    base: str,
    spread: str | None,
    fitted: FittedSettings,
    reasons: Sequence[str],
) -> None:
    """Log the model card as an artifact, and its summary as the version's description."""
    scored = {window: _with_risk(best, window, fitted) for window in best.plan.scored_windows}
    facts = {
        "fine-tuned from": base,
        "notes trained on": ", ".join(map(window_title, best.plan.train_windows)),
        "learning rate": f"{best.plan.settings.learning_rate:g}",
        "vote": f"c = {best.c:g}",
        "best step": str(best.trained.best_step),
        **({"AUROC over seeds": spread} if spread else {}),
    }
    card = model_card(
        config,
        prepared,
        name,
        scored,
        "validation",
        facts,
        unseen=True,
        doubts=reasons,
    )
    mlflow.log_text(card_page(card), "model_card.html")
    registered, _, version = name.partition("/")
    mlflow.MlflowClient().update_model_version(registered, version, card_summary(card))


def _with_risk(best: Candidate, window: str, fitted: FittedSettings) -> pd.DataFrame:
    """Return the validation admissions with score and, where the window has a curve, risk."""
    rows = best.patients("validation", window).table()
    curve = fitted.risks.get(window)
    return rows if curve is None else rows.assign(risk=curve.risks(rows.score.to_numpy()))


def _index(plan: TrainingPlan, part: Part) -> ChunkIndex:
    return read_part(plan.prepared_folder, part, plan.fold, plan.train_windows)


def _counts(chunks: ChunkIndex) -> str:
    labels = chunks.admissions()[1]
    readmitted = int(labels.sum())
    return (
        f"{len(chunks):,} chunks of {readmitted:,} readmitted and "
        f"{len(labels) - readmitted:,} other admissions"
    )


@contextmanager
def _watch(
    mlflow: Any, config: Config, plan: TrainingPlan, progress: Progress
) -> Iterator[tuple[Log, Log]]:
    """Yield a function that logs a training's values and one that prints them. Each of several
    learning rates and seeds gets a nested MLflow run."""
    rate = plan.settings.learning_rate
    several = len(config.tune.learning_rates or ()) > 1 or bool(config.train.seeds)
    name = f"learning rate {rate:g}, seed {plan.settings.seed}"
    run = nested_run(mlflow, name) if several else nullcontext()

    def record(values: dict[str, float], step: int, steps: int) -> None:
        mlflow.log_metrics(values, step=step)

    def say(values: dict[str, float], step: int, steps: int) -> None:
        progress.say(progress_line(values, step, steps))

    with run:
        if several:
            mlflow.log_params({"train.learning_rate": rate, "train.seed": plan.settings.seed})
            progress.say(name)
        yield record, say


def _log_pictures(mlflow: Any, best: Candidate, config: Config) -> None:
    patients = best.trained.scores["validation"][config.train.window].vote(best.c)
    shown = (patients.scores, patients.labels, patients.subject_ids)
    measured = evaluate(*shown, replicates=config.score.bootstrap, seed=config.split.seed)
    mlflow.log_dict(measured, "validation.json")
    losses = [(step, v["train_loss"]) for step, v in best.trained.history if "train_loss" in v]
    with tempfile.TemporaryDirectory() as folder:
        for name, png in {
            "roc_validation": pictures.roc(*shown, measured, title="Validation"),
            "pr_validation": pictures.precision_recall(*shown, measured, title="Validation"),
            "loss": pictures.loss(losses, title="Training loss"),
        }.items():
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png)
            mlflow.log_artifact(str(path))
