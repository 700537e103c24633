"""Tuning on validation, registering, cross-validating and promoting a tiny model with MLflow."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import roc_auc_score

from readmit_spark.comparison import promote_job as promotion
from readmit_spark.comparison.crossval_job import crossval, table
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.gate import Verdict
from readmit_spark.evaluation.thresholds import operating_points, pick
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.fitted_settings import FittedSettings
from readmit_spark.scoring.model import Model, resolve_model
from readmit_spark.scoring.registry import experiment_run, fetch, register
from readmit_spark.scoring.score_report import remarks
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.training.choose_model import (
    choose,
    repeat,
    spread_of_seeds,
    train_windows,
)
from readmit_spark.training.finetune_job import finetune_and_register
from readmit_spark.training.launch import train_here
from readmit_spark.training.plan import Trained, TrainingPlan
from readmit_spark.training.shards import admissions_of, read_index, read_tokens
from readmit_spark.training.validation_scores import ChunkScores
from tests.prepared import VALUES, WINDOW, learnable, prepared_of
from tests.runs import run_promote

pytestmark = pytest.mark.usefixtures("one_thread")
RATES = (1e-6, 1e-3)  # the first one learns nothing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return learnable(tmp_path_factory.mktemp("prepared"), train=100)


def settings(root: Path, *more: str) -> Config:
    return load_config(
        overrides=[
            f"output.root={root}", f"train.window={WINDOW}", "train.batch_size=8", "train.epochs=3",
            "train.learning_rate=1e-3", "model.max_tokens=128", "score.bootstrap=50",
            "split.seed=1", "train.seed=1", *more,
        ]
    )  # fmt: skip


def progress() -> Progress:
    return Progress("test", 5, io.StringIO())


@pytest.fixture(scope="module")
def tuned(
    tiny_model: str, folder: str, tmp_path_factory: pytest.TempPathFactory, one_thread: Any
) -> Config:
    config = settings(
        tmp_path_factory.mktemp("tuned"), "tune.learning_rates=[1e-6, 1e-3]", "tune.vote_c=[1, 4]"
    )
    model = Model(tiny_model, "tiny")
    made = finetune_and_register(config, model, prepared_of(folder, tiny_model), progress())
    assert made == ("readmission/1", "champion")
    return config


def champion(config: Config) -> str:
    return fetch("models:/readmission@champion", config.tracking_uri)[0]


def test_each_learning_rate_is_a_nested_run_and_the_best_is_registered(tuned: Config) -> None:
    client = mlflow.MlflowClient(tracking_uri=tuned.tracking_uri)
    experiment = client.get_experiment_by_name("readmission")
    runs = client.search_runs([experiment.experiment_id])
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = (run for run in runs if run not in nested)
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    assert {float(run.data.params["train.learning_rate"]) for run in nested} == set(RATES)
    best = max(
        nested, key=lambda run: max(run.data.metrics[f"validation_auroc_c_{c}"] for c in (1, 4))
    )
    chosen = parent.data.params
    assert float(chosen["chosen.learning_rate"]) == 1e-3
    assert best.data.params["train.learning_rate"] == "0.001"
    assert float(chosen["chosen.vote_c"]) in (1.0, 4.0)
    assert client.get_metric_history(best.info.run_id, "train_loss")
    assert client.get_metric_history(best.info.run_id, "validation_auroc")


def test_rate_and_c_are_chosen_on_validation_alone(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    """The test set would be ranked right by the learning rate and c that are worse on validation.

    They must not be chosen.
    """

    def chunks(positive: list[float], negative: list[float]) -> ChunkScores:
        """Return the scores of a readmitted and another admission with two chunks each."""
        ids, labels = np.array([1, 1, 2, 2]), np.array([1, 1, 0, 0])
        return ChunkScores(ids, ids, labels, np.array([*positive, *negative]))

    # Ranked right by the maximum (a large c), and by the mean (a small c).
    by_max, by_mean = chunks([0.9, 0.1], [0.6, 0.6]), chunks([0.6, 0.6], [0.9, 0.1])
    wrong = chunks([0.1, 0.1], [0.9, 0.9])

    def launch(plan: TrainingPlan, record: Any, say: Any) -> Trained:
        good = plan.settings.learning_rate == 1e-3
        parts = {"validation": by_max if good else wrong, "test": wrong if good else by_mean}
        return Trained([], 1, 1, {part: {WINDOW: scores} for part, scores in parts.items()})

    config = settings(tmp_path, "tune.learning_rates=[1e-6, 1e-3]", "tune.vote_c=[0.01, 100]")
    prepared = prepared_of(folder, tiny_model)
    quiet = nullcontext((lambda *_: None, lambda *_: None))
    best, candidates = choose(
        config, Model(tiny_model, "tiny"), prepared, launch, lambda _: quiet, fold=0
    )
    assert best.plan.settings.learning_rate == 1e-3 and best.c == 100
    assert best.aurocs == {0.01: 0.0, 100: 1.0}
    assert candidates[0].aurocs == {0.01: 0.0, 100: 0.0}


def test_other_seeds_show_the_spread_and_are_not_chosen(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    def launch(plan: TrainingPlan, record: Any, say: Any) -> Trained:
        # Of two pairs, seed 1 ranks one right and seed 2 both.
        ids, labels = np.arange(3), np.array([1, 0, 0])
        second = 0.6 if plan.settings.seed == 1 else 0.1
        scores = ChunkScores(ids, ids, labels, np.array([0.5, 0.2, second]))
        return Trained([], 1, 1, {"validation": {WINDOW: scores}, "test": {WINDOW: scores}})

    config = settings(tmp_path, "train.seeds=[1, 2]")
    prepared = prepared_of(folder, tiny_model)
    watch = lambda plan: nullcontext((lambda *_: None, lambda *_: None))  # noqa: E731
    model = Model(tiny_model, "tiny")
    best, candidates = choose(config, model, prepared, launch, watch)
    others = repeat(config, model, prepared, launch, watch, best)
    assert [c.plan.settings.seed for c in (*candidates, *others)] == [1, 2]
    assert best.plan.settings.seed == 1
    assert spread_of_seeds(best, others) == "0.750 ± 0.354 over 2 seeds, from 0.500 to 1.000"
    assert spread_of_seeds(best, []) is None
    assert best.plan.checkpoint_folder != others[0].plan.checkpoint_folder


def test_the_registered_version_has_its_card(tuned: Config, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=tuned.tracking_uri)
    version = client.get_model_version("readmission", "1")
    assert "| notes read | admissions | AUROC | AUPRC | RP80 |" in version.description
    page = Path(client.download_artifacts(version.run_id, "model_card.html", str(tmp_path)))
    text = page.read_text()
    for words in ("Model card: readmission/1", "The model was not trained on them",
                  "were chosen on these same patients", "balanced",
                  *(value for two in VALUES.values() for value in two)):  # fmt: skip
        assert words in text


def test_fitted_settings_follow_from_the_validation_scores(
    tuned: Config, folder: str, tmp_path: Path
) -> None:
    """The registered model is scored again with the jobs' scorer."""
    home = champion(tuned)
    fitted = Model(home, "").fitted
    assert fitted is not None
    client = mlflow.MlflowClient(tracking_uri=tuned.tracking_uri)
    run = client.get_model_version("readmission", "1").run_id
    logged = Path(client.download_artifacts(run, "learnt.json", str(tmp_path)))
    assert FittedSettings.from_dict(json.loads(logged.read_text())) == fitted
    index = read_index(folder, WINDOW, admissions_of(folder, "validation", None, WINDOW))
    p = Scorer(home).score(read_tokens(folder, [WINDOW], index))
    scores, labels = [], []
    for hadm in np.unique(index.hadm_ids):
        own = p[index.hadm_ids == hadm]
        n = len(own) / fitted.vote_c
        scores.append((own.max() + own.mean() * n) / (1 + n))
        labels.append(hadm % 2)
    patients = [hadm // 2 for hadm in np.unique(index.hadm_ids)]
    for target in (0.2, 0.4):
        expected, point = (
            pick(operating_points(scores, labels, patients), target),
            fitted.threshold(WINDOW, target),
        )
        assert expected is not None and point is not None
        assert point.threshold == pytest.approx(expected.threshold, abs=1e-5)
        assert (point.recall, point.n) == (pytest.approx(expected.recall), 60)


@pytest.mark.parametrize(
    ("settings", "windows"),
    [
        ([], ("1days", "2days", "3days")),
        (["train.window=2days"], ("1days", "2days")),
        (["train.window=discharge"], ("discharge",)),
        (["train.snapshots=false"], ("3days",)),
        (["profile=paper"], ("3days",)),
    ],
)
def test_snapshots_are_the_prepared_windows_up_to_that_of_the_training(
    settings: list[str], windows: tuple[str, ...]
) -> None:
    prepared = ("2days", "discharge", "1days", "3days", "5days")
    assert train_windows(load_config(overrides=settings), prepared) == windows


def test_checkpoints_are_deleted_after_registration(tuned: Config) -> None:
    assert not list(Path(tuned.output_root, "_training").glob("*"))


def test_a_job_killed_before_registration_trains_nothing_twice(
    tiny_model: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, "train.epochs=1", "tune.learning_rates=[1e-3, 2e-3]")
    model, prepared = Model(tiny_model, "tiny"), prepared_of(folder, tiny_model)
    steps: list[list[int]] = []

    def launch_once_killed(plan: TrainingPlan, record: Any, say: Any) -> Trained:
        if plan.settings.learning_rate == 2e-3 and len(steps) == 1:
            raise KeyboardInterrupt
        steps.append([])
        return train_here(plan, record, lambda values, step, of: steps[-1].append(step))

    with pytest.raises(KeyboardInterrupt):
        finetune_and_register(config, model, prepared, progress(), launch_once_killed)
    monkeypatch.setattr("readmit_spark.training.finetune._FineTuning._step_loss", _no_step(1e-3))
    assert (
        finetune_and_register(config, model, prepared, progress(), launch_once_killed)[0]
        == "readmission/1"
    )
    assert steps[0] == steps[1]  # the history of the first rate is logged again without training


def _no_step(rate: float) -> Any:
    from readmit_spark.training.finetune import _FineTuning

    step_loss = _FineTuning._step_loss

    def checked(self: Any, lanes: Any) -> Any:
        assert self.settings.learning_rate != rate, "trained a second time"
        return step_loss(self, lanes)

    return checked


# --- cross-validation -----------------------------------------------------------------------------


def test_a_killed_cross_validation_continues_in_its_fold(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, "train.epochs=1")
    model, prepared = Model(tiny_model, "tiny"), prepared_of(folder, tiny_model)
    trained: list[int | None] = []
    tested: dict[int, tuple[float, float]] = {}

    def launch_and_collect(plan: TrainingPlan, record: Any, say: Any) -> Trained:
        if len(trained) == 2 and trained[-1] == 1:
            trained.append(None)
            raise KeyboardInterrupt
        trained.append(plan.fold)
        result = train_here(plan, record, say)
        for hadm, score in zip(
            *(getattr(result.scores["test"][WINDOW].vote(2.0), f) for f in ("hadm_ids", "scores")),
            strict=True,
        ):
            tested[int(hadm)] = (float(score), hadm % 2)
            assert hadm // 2 % 5 == plan.fold
        return result

    with pytest.raises(KeyboardInterrupt):
        crossval(config, model, prepared, progress(), launch_and_collect)
    assert not (tmp_path / "crossval.json").exists()
    result = crossval(config, model, prepared, progress(), launch_and_collect)
    assert trained == [0, 1, None, 2, 3, 4]
    assert len(tested) == 170  # every admission, once
    assert json.loads((tmp_path / "crossval.json").read_text()) == result
    assert all("scores" not in fold for fold in result["folds"])  # of single patients
    for window, pooled in result["pooled"].items():
        folds = [fold["windows"][window]["natural"] for fold in result["folds"]]
        for count in ("n", "positives"):
            assert pooled[count] == sum(fold[count] for fold in folds)
    page = (tmp_path / "crossval.html").read_text()
    assert f"{result['pooled'][WINDOW]['auroc']['value']:.3f}" in page
    assert "ethnicity" in page
    values = []
    for fold in range(5):
        own = [tested[hadm] for hadm in tested if hadm // 2 % 5 == fold]
        values.append(roc_auc_score([label for _, label in own], [score for score, _ in own]))
        natural = result["folds"][fold]["windows"][WINDOW]["natural"]
        assert natural["auroc"]["value"] == pytest.approx(values[-1], abs=1e-12)
        assert natural["n"] == len(own)
    auroc = result["summary"][WINDOW]["natural"]["auroc"]
    assert auroc["mean"] == pytest.approx(np.mean(values))
    assert auroc["sd"] == pytest.approx(np.std(values, ddof=1))
    assert f"{auroc['mean']:.3f} ± {auroc['sd']:.3f}" in table(result)
    assert not list(tmp_path.glob("_*/*"))
    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'readmission'")
    runs = client.search_runs([experiment.experiment_id])
    nested = {run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert nested == {f"fold {number}" for number in range(1, 6)}


# --- champion and challenger ----------------------------------------------------------------------


def register_random(config: Config, model: str) -> tuple[str, str]:
    """Register an untrained model; return its name/version and alias."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with experiment_run(config.tracking_uri, "readmission", "random") as run:
        return register(run, load_for_training(model), tokenizer, "readmission", {})


def test_promotion_follows_the_gate(
    spark: SparkSession,
    tiny_model: str,
    tmp_path: Path,
    tuned: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from tests.prepared import rows, write_prepared

    tested = rows(80, 5, "test", first=2000)
    prepared = prepared_of(write_prepared(tmp_path / "in", tested), tiny_model, spark)
    config = replace(tuned, promote=replace(tuned.promote, min_group=5))
    assert register_random(config, tiny_model) == ("readmission/2", "challenger")
    log = io.StringIO()
    kept = run_promote(spark, config, prepared, log)
    assert "readmission/2: nobody knows which patients it was trained on" in log.getvalue()
    assert "readmission/1: nobody" not in log.getvalue()
    assert (kept.champion, kept.challenger) == ("readmission/1", "readmission/2")
    assert kept.overall.n == 80
    assert set(kept.groups) == {f"{factor} {v}" for factor, two in VALUES.items() for v in two}
    assert (kept.promoted, kept.number) == (False, 1)
    assert any(line.startswith("AUROC ") for line in kept.verdict.worse)
    reasons = promotion.reasons(kept)
    assert reasons.startswith("readmission/1 stays the champion:\n- worse: AUROC ")
    assert "- cannot tell: AUROC of" in reasons or "- worse: AUROC of" in reasons
    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri)
    aliases = client.get_registered_model("readmission").aliases
    assert {k: int(v) for k, v in aliases.items()} == {"champion": 1, "challenger": 2}

    # The reverse: the random model is the champion, the trained one the challenger.
    client.set_registered_model_alias("readmission", "champion", 2)
    config = replace(config, promote=replace(config.promote, version=1))
    moved = run_promote(spark, config, prepared)
    assert moved.number == 2  # of two challengers on these patients
    assert moved.verdict == Verdict([], []) and moved.promoted
    assert moved.overall.gains["auroc"].gain == -kept.overall.gains["auroc"].gain
    aliases = client.get_registered_model("readmission").aliases
    assert (int(aliases["champion"]), int(aliases["previous"])) == (1, 2)
    assert (
        "better than readmission/2" in client.get_model_version("readmission", 1).tags["promotion"]
    )
    said = remarks(resolve_model(config, "models:/readmission@champion"), config)
    assert said[0].startswith("Selected on these patients: this version was the best of 3 on these")
    assert said[1].startswith("First gate: not compared with simpler models yet")
    shown = promotion.table(moved)
    assert "readmission/2" in shown and "auroc, sex female" in shown
    with pytest.raises(UserError, match="readmission/1 is the champion already"):
        run_promote(spark, config, prepared)
