"""Choosing a model on validation: the learning rate, the epoch and the vote's c."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.scoring.fitted import Learnt
from readmit_spark.scoring.locate import Located, fingerprint, local_folder
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.training.launch import Launch
from readmit_spark.training.loop import Log
from readmit_spark.training.plan import Trained, TrainingPlan
from readmit_spark.training.shards import admissions_of
from readmit_spark.training.validation_scores import PatientScores

# Settings that decide no weight, so a training goes on with other ones where it stopped; and the
# learning rate, of which there may be several.
_FREE = ("learning_rate", "processes", "checkpoint_minutes", "log_every")


@dataclass(frozen=True)
class Candidate:
    """A training that has ended. aurocs: on validation, in the window trained on, by c."""

    plan: TrainingPlan
    trained: Trained
    aurocs: dict[float, float]

    @property
    def c(self) -> float:
        """The best one; of equals the first in the list."""
        return max(self.aurocs, key=lambda c: self.aurocs[c])

    def patients(self, part: str, window: str) -> PatientScores:
        """Of whom an alert is of use (docs/method.md, section 3), as the vote scores them."""
        folder, fold = self.plan.prepared_folder, self.plan.fold
        kept = admissions_of(folder, part, fold, window)  # type: ignore[arg-type]
        return self.trained.scores[part][window].vote(self.c).select(kept)

    def learnt(self, max_tokens: int) -> Learnt:
        """What the model brings along, learnt on validation at natural prevalence."""
        alerts = {}
        for window in self.plan.scored_windows:
            found = self.patients("validation", window)
            alerts[window] = operating_points(found.scores, found.labels)
        return Learnt(self.plan.settings.window, max_tokens, self.c, alerts)


Watch = Callable[[TrainingPlan], AbstractContextManager[tuple[Log, Log]]]
"""Around each training: gives what records its values, and what says them."""


def choose(
    config: Config,
    located: Located,
    prepared: dict[str, Any],
    launch: Launch,
    watch: Watch,
    fold: int | None = None,
) -> tuple[Candidate, list[Candidate]]:
    """Trains once a learning rate; gives the best by AUROC on validation, and all.

    `fold`: the one held out, whose scores the candidates then have as well.
    """
    candidates = []
    for rate in config.tune.learning_rates or (config.train.learning_rate,):
        plan = plan_of(config, located, prepared, rate, fold)
        with watch(plan) as (record, say):
            trained = launch(plan, record, say)
            candidates.append(Candidate(plan, trained, _aurocs(config, trained)))
            record(
                {f"validation_auroc_c_{c:g}": v for c, v in candidates[-1].aurocs.items()},
                trained.best_step,
                trained.steps,
            )
    return max(candidates, key=lambda found: found.aurocs[found.c]), candidates


def plan_of(
    config: Config,
    located: Located,
    prepared: dict[str, Any],
    rate: float,
    fold: int | None = None,
) -> TrainingPlan:
    """The training of these settings. Its folder of checkpoints is named for all that decides the
    weights, so the same job goes on where it was killed, and any other starts anew."""
    made = tuple(prepared["config"]["windows"])
    if config.train.window not in made:
        raise UserError(
            f"train.window is {config.train.window}: prepare made {', '.join(made)}; "
            "set one of these"
        )
    key = training_key(config, located, prepared, rate, fold)
    return TrainingPlan(
        start_model=local_folder(located.folder),
        prepared_folder=anywhere(prepared["path"]),
        fold=fold,
        scored_windows=made,
        settings=replace(config.train, learning_rate=rate),
        vote_c=config.vote.c or PUBLISHED_C,
        checkpoint_folder=f"{anywhere(config.output_root)}/_training/{key}",
    )


def training_key(config: Config, located: Located, prepared: dict[str, Any], *more: object) -> str:
    """12 hex digits of all that decides the weights: model, data, settings, seed; and of `more`."""
    settings = {k: v for k, v in asdict(config.train).items() if k not in _FREE}
    decides = [fingerprint(local_folder(located.folder)), prepared["run"], prepared["tokenizer"],
               settings, config.vote.c, *more]  # fmt: skip
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]


def anywhere(folder: str) -> str:
    """The folder as a process with another working directory finds it."""
    return folder if "://" in folder else str(Path(folder).absolute())


def forget(candidates: list[Candidate]) -> None:
    """Removes the checkpoints of trainings whose result is kept elsewhere."""
    for candidate in candidates:
        FileStore(candidate.plan.checkpoint_folder).remove()


def _aurocs(config: Config, trained: Trained) -> dict[float, float]:
    chunks = trained.scores["validation"][config.train.window]
    found = {}
    for c in config.tune.vote_c or (config.vote.c or PUBLISHED_C,):
        auroc = chunks.vote(c).auroc()
        assert auroc is not None  # a training has checked that both classes are there
        found[c] = auroc
    return found
