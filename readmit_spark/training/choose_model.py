"""Choose a model on validation: its learning rate, epoch and c of the vote."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.evaluation.doubts import Evidence
from readmit_spark.evaluation.risk_curve import fit_risk_curve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.notes.windows import parse_window
from readmit_spark.scoring.fitted_settings import FittedSettings
from readmit_spark.scoring.model import Model
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.storage.manifests import Prepared
from readmit_spark.training.launch import Launch
from readmit_spark.training.loop import Log
from readmit_spark.training.plan import Trained, TrainingPlan
from readmit_spark.training.shards import Part, admissions_of, read_part
from readmit_spark.training.validation_scores import PatientScores

# Keys of `train` that are not part of the training key: the learning rate, which is added for each
# training, and keys that do not affect the weights, so a training can continue with other values.
_NOT_IN_KEY = ("learning_rate", "seeds", "processes", "checkpoint_minutes", "log_every")


@dataclass(frozen=True)
class Candidate:
    """A finished training. aurocs: c of the vote -> AUROC on validation, in the training window."""

    plan: TrainingPlan
    trained: Trained
    aurocs: dict[float, float]

    @property
    def c(self) -> float:
        """The c with the best AUROC; of equal ones the first in the list."""
        return max(self.aurocs, key=lambda c: self.aurocs[c])

    def patients(self, part: Part, window: str) -> PatientScores:
        """Return patient scores of stays long enough for an alert to matter (docs/method.md,
        section 3)."""
        actionable = admissions_of(self.plan.prepared_folder, part, self.plan.fold, window)
        return self.trained.scores[part][window].vote(self.c).select(actionable)

    def fitted(self, prepared: Prepared) -> FittedSettings:
        """Return what was fitted on validation at natural prevalence: c, alert thresholds and
        risks."""
        alerts, risks = {}, {}
        for window in self.plan.scored_windows:
            patients = self.patients("validation", window)
            fitted = (patients.scores, patients.labels, patients.subject_ids)
            alerts[window] = operating_points(*fitted)
            curve = fit_risk_curve(*fitted)
            if curve is not None:
                risks[window] = curve
        return FittedSettings(
            self.plan.settings.window, prepared.max_tokens, self.c, alerts, prepared.text_rules,
            risks, self.evidence(),
        )  # fmt: skip

    def evidence(self) -> Evidence:
        """Return how well the model ranks the validation admissions in the training window."""
        train = read_part(
            self.plan.prepared_folder, "train", self.plan.fold, self.plan.train_windows
        )
        patients = self.patients("validation", self.plan.settings.window)
        return Evidence.of(patients.measures(), int(train.admissions()[1].sum()))


Watch = Callable[[TrainingPlan], AbstractContextManager[tuple[Log, Log]]]
"""A context around each training. It yields a function that records the training's values and one
that prints them."""


def choose(
    config: Config,
    model: Model,
    prepared: Prepared,
    launch: Launch,
    watch: Watch,
    fold: int | None = None,
) -> tuple[Candidate, list[Candidate]]:
    """Train once for each learning rate. Return (best by AUROC on validation, all candidates).

    fold: the fold that is held out for testing; the candidates then have its test scores too.
    """
    candidates = [
        _train(config, training_plan(config, model, prepared, rate, fold), launch, watch)
        for rate in config.tune.learning_rates or (config.train.learning_rate,)
    ]
    return max(candidates, key=lambda candidate: candidate.aurocs[candidate.c]), candidates


def repeat(
    config: Config,
    model: Model,
    prepared: Prepared,
    launch: Launch,
    watch: Watch,
    best: Candidate,
) -> list[Candidate]:
    """Train again as `best`, once for each other seed of `train.seeds`, to see the spread."""
    rate = best.plan.settings.learning_rate
    candidates = []
    for seed in config.train.seeds or ():
        if seed != config.train.seed:
            with_seed = replace(config, train=replace(config.train, seed=seed))
            plan = training_plan(with_seed, model, prepared, rate)
            candidates.append(_train(config, plan, launch, watch))
    return candidates


def spread_of_seeds(best: Candidate, others: Sequence[Candidate]) -> str | None:
    """Describe the AUROC on validation over the seeds, with c of `best`; None for one seed."""
    if not others:
        return None
    values = [best.aurocs[best.c], *(other.aurocs[best.c] for other in others)]
    return (
        f"{statistics.fmean(values):.3f} \N{PLUS-MINUS SIGN} {statistics.stdev(values):.3f} over "
        f"{len(values)} seeds, from {min(values):.3f} to {max(values):.3f}"
    )


def _train(config: Config, plan: TrainingPlan, launch: Launch, watch: Watch) -> Candidate:
    with watch(plan) as (record, say):
        trained = launch(plan, record, say)
        candidate = Candidate(plan, trained, _aurocs(config, trained))
        record(
            {f"validation_auroc_c_{c:g}": v for c, v in candidate.aurocs.items()},
            trained.best_step,
            trained.steps,
        )
    return candidate


def training_plan(
    config: Config,
    model: Model,
    prepared: Prepared,
    rate: float,
    fold: int | None = None,
) -> TrainingPlan:
    """Return the plan of one training. UserError if `train.window` was not prepared.

    The name of its checkpoint folder depends on everything that decides the weights. So the same
    job continues after it was killed, and a different one starts again.
    """
    prepared.check_window(config.train.window, "train.window")
    windows = train_windows(config, prepared.windows)
    key = training_key(config, model, prepared, rate, fold)
    return TrainingPlan(
        start_model=model.folder,
        prepared_folder=absolute_path(prepared.path),
        fold=fold,
        train_windows=windows,
        scored_windows=prepared.windows,
        settings=replace(config.train, learning_rate=rate),
        vote_c=config.vote.c or PUBLISHED_C,
        checkpoint_folder=f"{absolute_path(config.output_root)}/_training/{key}",
    )


def train_windows(config: Config, prepared: Sequence[str]) -> tuple[str, ...]:
    """Return the windows to train on, shortest first.

    With snapshots these are all prepared windows of at most as many days as `train.window`: the
    documents as they stood at each midnight.
    """
    last = parse_window(config.train.window)
    if last.days is None or not config.train_snapshots:
        return (last.name,)
    days = {name: parse_window(name).days for name in prepared}
    early = {name: n for name, n in days.items() if n is not None and n <= last.days}
    return tuple(sorted(early, key=lambda name: early[name]))


def training_key(config: Config, model: Model, prepared: Prepared, *more: object) -> str:
    """Return 12 hex digits: a hash of everything that decides the weights (model, data, settings,
    seed) and of `more`."""
    settings: dict[str, object] = {
        k: v for k, v in asdict(config.train).items() if k not in _NOT_IN_KEY
    }
    settings["snapshots"] = train_windows(config, prepared.windows)
    key_parts = [model.fingerprint, prepared.run, prepared.tokenizer,
                 settings, config.vote.c, *more]  # fmt: skip
    return hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:12]


def absolute_path(folder: str) -> str:
    """Make a local path absolute, for processes with another working directory; keep a URL."""
    return folder if "://" in folder else str(Path(folder).absolute())


def delete_checkpoints(candidates: list[Candidate]) -> None:
    """Delete the checkpoints of trainings whose result is stored elsewhere."""
    for candidate in candidates:
        FileStore(candidate.plan.checkpoint_folder).remove()


def _aurocs(config: Config, trained: Trained) -> dict[float, float]:
    chunks = trained.scores["validation"][config.train.window]
    aurocs = {}
    for c in config.tune.vote_c or (config.vote.c or PUBLISHED_C,):
        auroc = chunks.vote(c).auroc()
        assert auroc is not None  # training checks that both classes occur
        aurocs[c] = auroc
    return aurocs
