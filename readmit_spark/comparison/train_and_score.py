"""Train the transformer and the baselines, and return their test scores, for `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.comparison.baselines import baseline_scores, read_baseline_data
from readmit_spark.comparison.crossval_job import watch_fold
from readmit_spark.config import Config
from readmit_spark.evaluation.card import folds_of
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_before_test, check_tokens, check_unseen
from readmit_spark.scoring.mlflow_run import TRAINING, job_run
from readmit_spark.scoring.model import Model, resolve_model
from readmit_spark.scoring.registry import CHAMPION, champion_facts, nested_run
from readmit_spark.scoring.scorer_settings import scores_of_test_split
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.training.choose_model import Candidate, choose, training_key
from readmit_spark.training.finetune_job import STAGES as FINETUNE_STAGES
from readmit_spark.training.finetune_job import finetune_and_register
from readmit_spark.training.launch import Launch

COLUMNS = ["model", "fold", "window", "subject_id", "hadm_id", "score", "label"]


class Models:
    """Test scores of every model. A model that was not trained yet is trained first."""

    def __init__(self, run: Run, prepared: Prepared, launch: Launch) -> None:
        self.run, self.config, self.prepared, self.launch = run, run.config, prepared, launch
        self.folds: list[int | None] = [None]
        if self.config.compare.cross_validate:
            self.folds = list(range(folds_of(prepared)))
        self.champions: dict[str, Model] = {}  # by window of training, unless cross-validated
        self.candidates: list[Candidate] = []  # their checkpoints are deleted after publishing

    def key(self, what: Any) -> dict[str, Any]:
        """Return everything that a model's scores depend on. what: what differs by model."""
        return {
            "prepared": self.prepared.run,
            "train.window": self.config.train.window,
            "seed": self.config.train.seed,
            "vote.c": self.config.vote.c,
            "tune.vote_c": self.config.tune.vote_c,
            "cross_validate": self.config.compare.cross_validate,
            "what": what,
        }

    def baseline(self, name: str, trainings: Mapping[str, Sequence[str]]) -> DataFrame:
        """Train the baseline `name` in each window of `trainings` and fold; return its test scores.

        trainings: window of training -> windows of testing.
        """
        frames = []
        for train_window, test_windows in trainings.items():
            for fold in self.folds:
                data = read_baseline_data(self.run, self.prepared, train_window, test_windows, fold)
                suffix = f"{train_window}-{fold}"

                def save_temp(frame: DataFrame, table: str, suffix: str = suffix) -> DataFrame:
                    return self.run.write_temp(frame, f"{table}-{suffix}")

                patients = baseline_scores(name, data, self.config, save_temp, self.run.say)
                frames.append(self._measured(patients, fold, f"{name}-{suffix}"))
        return union(frames)

    def transformer(
        self, trainings: Mapping[str, Sequence[str]], earlier_key: dict[str, Any] | None
    ) -> tuple[DataFrame | None, dict[str, Any]]:
        """Return (test scores, key). The scores are None if the key equals `earlier_key`: those of
        the last comparison still apply.

        trainings: window of training -> windows of testing.
        """
        depends_on: list[Any]
        if self.config.compare.cross_validate:
            test_scores = self._cross_validated
            depends_on = [self._training_key(train_window) for train_window in trainings]
        else:
            models = {train_window: self._champion(train_window) for train_window in trainings}
            self.champions = models
            test_scores = partial(self._champion_scores, models)
            depends_on = [[model.name, model.fingerprint] for model in models.values()]
            depends_on.append(self.config.score.precision)
        key = self.key(depends_on)
        if key == earlier_key:
            self.run.say("compared before: reused")
            return None, key
        frames = [
            test_scores(train_window, test_windows)
            for train_window, test_windows in trainings.items()
        ]
        return union(frames), key

    def _champion(self, train_window: str) -> Model:
        """Return the champion trained on this window; fine-tune one if there is none."""
        config = self._config(train_window)
        if champion_facts(config.tracking_uri, config.model.name) is None:
            progress = Progress(f"compare: finetune {train_window}", FINETUNE_STAGES)
            finetune_and_register(
                config, resolve_model(config), self.prepared, progress, self.launch
            )
        model = resolve_model(config, f"models:/{config.model.name}@{CHAMPION}")
        check_before_test(model, self.prepared, self.run.progress)
        return model

    def _champion_scores(
        self, models: Mapping[str, Model], train_window: str, test_windows: Sequence[str]
    ) -> DataFrame:
        model = models[train_window]
        patients = scores_of_test_split(self.run, self.prepared, model, test_windows)
        self.run.say(f"{model.name} scores {', '.join(test_windows)}")
        return self._measured(patients, None, f"transformer-{train_window}")

    def _training_key(self, train_window: str) -> str:
        """Check the model and return a hash of everything that decides the scores of the folds."""
        config, base = self._config(train_window), resolve_model(self.config)
        check_tokens(base, self.prepared)
        check_unseen(base, None)
        chosen = [config.tune.learning_rates or (config.train.learning_rate,), config.tune.vote_c]
        return training_key(config, base, self.prepared, chosen)

    def _cross_validated(self, train_window: str, test_windows: Sequence[str]) -> DataFrame:
        """Return test scores from one model for each fold. After a crash the folds' checkpoints are
        continued."""
        config, base = self._config(train_window), resolve_model(self.config)
        rows = []
        with job_run(config, f"compare-{train_window}", TRAINING) as mlflow:
            for number, fold in enumerate(self.folds, start=1):
                self.run.say(f"fold {number} of {len(self.folds)}, {train_window}")
                with nested_run(mlflow, f"fold {number}"):
                    watch = watch_fold(mlflow, self.run.progress)
                    best, candidates = choose(config, base, self.prepared, self.launch, watch, fold)
                self.candidates += candidates
                rows += [self._held_out(best, fold, window) for window in test_windows]
        schema = "fold int, window string, subject_id long, hadm_id long, score double, label int"
        return self.run.spark.createDataFrame(pd.concat(rows), schema)

    @staticmethod
    def _held_out(best: Candidate, fold: int | None, window: str) -> pd.DataFrame:
        patients = best.patients("test", window)
        columns = (patients.subject_ids, patients.hadm_ids, patients.scores, patients.labels)
        rows = pd.DataFrame(dict(zip(COLUMNS[3:], columns, strict=True)))
        rows.insert(0, "window", window)
        rows.insert(0, "fold", fold)
        return rows

    def _config(self, train_window: str) -> Config:
        """Return the configuration of a training. Each window but `train.window` has its own model
        name."""
        config = self.config
        if train_window == config.train.window:
            return config
        name = f"{config.model.name}-{train_window}"
        return replace(
            config,
            train=replace(config.train, window=train_window),
            model=replace(config.model, name=name),
        )

    def _measured(self, patients: DataFrame, fold: int | None, name: str) -> DataFrame:
        """Write the measured admissions, with the columns of `COLUMNS`, to a temporary table."""
        rows = patients.where("actionable and label is not null").select(
            F.lit(-1 if fold is None else fold).alias("fold"), *COLUMNS[2:]
        )
        return self.run.write_temp(rows, f"scores-{name.replace(' ', '_')}")


def union(frames: Sequence[DataFrame]) -> DataFrame:
    """Return all rows of the frames, which have the same columns."""
    result = frames[0]
    for frame in frames[1:]:
        result = result.unionByName(frame)
    return result
