"""The test scores of the transformer and of the baselines, for `compare`."""

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
from readmit_spark.notes.cohort import FOLDS
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
    """Test scores of every model; a model is trained first where that was not done yet."""

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        launch: Launch,
    ) -> None:
        self.run, self.config, self.prepared, self.launch = run, run.config, prepared, launch
        self.folds: list[int | None] = [None]
        if self.config.compare.cross_validate:
            self.folds = list(range(FOLDS))
        self.candidates: list[Candidate] = []  # their checkpoints are deleted after publishing

    def key(self, what: Any) -> dict[str, Any]:
        """Everything that a model's scores depend on; `what`: what only this model depends on."""
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
        found = []
        for trained, tested in trainings.items():
            for fold in self.folds:
                data = read_baseline_data(self.run, self.prepared, trained, tested, fold)
                place = f"{trained}-{fold}"

                def save_temp(frame: DataFrame, table: str, place: str = place) -> DataFrame:
                    return self.run.write_temp(frame, f"{table}-{place}")

                patients = baseline_scores(name, data, self.config, save_temp, self.run.say)
                found.append(self._kept(patients, fold, f"{name}-{place}"))
        return union(found)

    def transformer(
        self, trainings: Mapping[str, Sequence[str]], before: dict[str, Any] | None
    ) -> tuple[DataFrame | None, dict[str, Any]]:
        """Return (scores, key); scores is None where those of the last comparison still apply."""
        what: list[Any]
        if self.config.compare.cross_validate:
            make, what = self._cross_validated, [self._training_key(t) for t in trainings]
        else:
            models = {trained: self._champion(trained) for trained in trainings}
            make = partial(self._scored, models)
            what = [[model.name, model.fingerprint] for model in models.values()]
            what.append(self.config.score.precision)
        key = self.key(what)
        if key == before:
            self.run.say("compared before: reused")
            return None, key
        return union([make(trained, tested) for trained, tested in trainings.items()]), key

    def _champion(self, trained: str) -> Model:
        """The champion of the window; fine-tune one where there is none."""
        config = self._config(trained)
        if champion_facts(config.tracking_uri, config.model.name) is None:
            progress = Progress(f"compare: finetune {trained}", FINETUNE_STAGES)
            finetune_and_register(
                config, resolve_model(config), self.prepared, progress, self.launch
            )
        model = resolve_model(config, f"models:/{config.model.name}@{CHAMPION}")
        check_before_test(model, self.prepared, self.run.progress)
        return model

    def _scored(
        self, models: Mapping[str, Model], trained: str, tested: Sequence[str]
    ) -> DataFrame:
        model = models[trained]
        patients = scores_of_test_split(self.run, self.prepared, model, tested)
        self.run.say(f"{model.name} scores {', '.join(tested)}")
        return self._kept(patients, None, f"transformer-{trained}")

    def _training_key(self, trained: str) -> str:
        """Names everything that decides the scores of the folds."""
        config, base = self._config(trained), resolve_model(self.config)
        check_tokens(base, self.prepared)
        check_unseen(base, None)
        chosen = [config.tune.learning_rates or (config.train.learning_rate,), config.tune.vote_c]
        return training_key(config, base, self.prepared, chosen)

    def _cross_validated(self, trained: str, tested: Sequence[str]) -> DataFrame:
        """Test scores with one model for each fold. A job that was killed continues from the folds'
        checkpoints."""
        config, base = self._config(trained), resolve_model(self.config)
        rows = []
        with job_run(config, f"compare-{trained}", TRAINING) as mlflow:
            for number, fold in enumerate(self.folds, start=1):
                self.run.say(f"fold {number} of {len(self.folds)}, {trained}")
                with nested_run(mlflow, f"fold {number}"):
                    watch = watch_fold(mlflow, self.run.progress)
                    best, candidates = choose(config, base, self.prepared, self.launch, watch, fold)
                self.candidates += candidates
                rows += [self._held_out(best, fold, window) for window in tested]
        schema = "fold int, window string, subject_id long, hadm_id long, score double, label int"
        return self.run.spark.createDataFrame(pd.concat(rows), schema)

    @staticmethod
    def _held_out(best: Candidate, fold: int | None, window: str) -> pd.DataFrame:
        found = best.patients("test", window)
        columns = (found.subject_ids, found.hadm_ids, found.scores, found.labels)
        rows = pd.DataFrame(dict(zip(COLUMNS[3:], columns, strict=True)))
        rows.insert(0, "window", window)
        rows.insert(0, "fold", fold)
        return rows

    def _config(self, trained: str) -> Config:
        config = self.config
        if trained == config.train.window:
            return config
        name = f"{config.model.name}-{trained}"
        return replace(
            config,
            train=replace(config.train, window=trained),
            model=replace(config.model, name=name),
        )

    def _kept(self, patients: DataFrame, fold: int | None, name: str) -> DataFrame:
        """The measured admissions, with the table's columns, as a temporary table."""
        rows = patients.where("actionable and label is not null").select(
            F.lit(-1 if fold is None else fold).alias("fold"), *COLUMNS[2:]
        )
        return self.run.write_temp(rows, f"scores-{name.replace(' ', '_')}")


def union(frames: Sequence[DataFrame]) -> DataFrame:
    """All rows of the frames."""
    together = frames[0]
    for frame in frames[1:]:
        together = together.unionByName(frame)
    return together
