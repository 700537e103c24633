"""compare on a small hospital: all models are trained, measured and shown beside published ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from readmit_spark.comparison import bag_of_words as baselines
from readmit_spark.comparison import compare_job as comparing
from readmit_spark.comparison import train_and_score as compare_models
from readmit_spark.comparison.baselines import NAMES, best_c, read_baseline_data
from readmit_spark.comparison.compare_job import compare
from readmit_spark.comparison.comparison_metrics import comparison_result, windows_by_training
from readmit_spark.comparison.comparison_page import comparison_page, comparison_table, table_rows
from readmit_spark.comparison.literature import PAPER
from readmit_spark.config import Compare
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.vote import vote_score
from readmit_spark.notes.words import WORD
from readmit_spark.progress import Progress
from readmit_spark.scoring.registry import version_tags
from readmit_spark.storage.publish import read_manifest
from readmit_spark.training.launch import Launch, train_here
from readmit_spark.training.plan import Trained, TrainingPlan
from tests.runs import start_run
from tests.ward import Ward, run_job

WINDOWS = ["2days", "3days", "discharge"]


class Compared(NamedTuple):
    result: dict[str, Any]
    printed: str
    scores: pd.DataFrame


def run(spark: SparkSession, ward: Ward, launch: Launch = train_here, **changes: Any) -> Compared:
    config = replace(ward.config, **changes)
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(Progress, "say", lambda self, text: lines.append(text))
        patch.setattr(baselines, "PENALTIES", (0.001, 1.0))  # each costs a fit
        with start_run(spark, config, "compare") as compare_run:
            result = compare(compare_run, ward.prepared, launch)
    path = read_manifest(spark, config.output_root, "compare")["path"]
    scores = pq.read_table(f"{path}/model_scores").to_pandas()
    return Compared(result, "\n".join(lines), scores)


@pytest.fixture(scope="module")
def compared(spark: SparkSession, ward: Ward) -> Iterator[Compared]:
    yield run(spark, ward)


def test_every_model_is_measured_on_the_same_test_patients(compared: Compared, ward: Ward) -> None:
    by_model = compared.scores.groupby(["window", "model"]).hadm_id.apply(
        lambda ids: tuple(sorted(ids))
    )
    assert set(compared.scores.model) == {"readmission", *NAMES}
    for window in WINDOWS:
        assert by_model[window].nunique() == 1
    cohort = pq.read_table(f"{ward.prepared.path}/cohort").to_pandas().set_index("hadm_id")
    tested = cohort.loc[compared.scores.hadm_id]
    assert set(tested.split) == {"test"}
    assert (tested.label.to_numpy() == compared.scores.label.to_numpy()).all()
    early = compared.scores[compared.scores.window == "3days"]
    assert (cohort.loc[early.hadm_id].midnights.fillna(99) >= 3).all()


def test_the_figures_follow_from_the_scores(compared: Compared, ward: Ward) -> None:
    for window in WINDOWS:
        values = compared.result["windows"][window]
        assert list(values["models"]) == ["readmission", *NAMES]
        for model, both in values["models"].items():
            rows = compared.scores
            rows = rows[(rows.window == window) & (rows.model == model)]
            assert both["natural"]["n"] == len(rows)
            expected = roc_auc_score(rows.label, rows.score)
            assert both["natural"]["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
            assert both["balanced"]["prevalence"]["value"] == pytest.approx(0.5)
    tags = version_tags(ward.config.tracking_uri, "readmission/1")
    assert tags["first_gate"] == compared.result["first_gate"]
    truth = compared.result["windows"]["2days"]["attainable_auroc"]["value"]
    assert 0.5 < truth <= 1


def test_discharge_summaries_have_a_model_of_their_own(compared: Compared, ward: Ward) -> None:
    client = mlflow.MlflowClient(tracking_uri=ward.config.tracking_uri)
    names = {m.name for m in client.search_registered_models()}
    assert names == {"readmission", "readmission-discharge"}
    assert "readmission-discharge/1 scores discharge" in compared.printed
    assert "readmission/1 scores 2days, 3days" in compared.printed


def test_stored_comparisons_are_reused_and_other_models_stay(
    spark: SparkSession, ward: Ward, compared: Compared
) -> None:
    again = run(spark, ward)
    assert again.printed.count("compared before: reused") == 1 + len(NAMES)
    assert again.result == compared.result
    key = ["model", "window", "hadm_id"]
    pd.testing.assert_frame_equal(
        again.scores.sort_values(key, ignore_index=True),
        compared.scores.sort_values(key, ignore_index=True),
    )


def test_the_job_reuses_everything_and_prints_the_table(
    ward: Ward, compared: Compared, tmp_path: Path
) -> None:
    done = run_job("compare", ward, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compared before: reused") == 1 + len(NAMES)
    assert comparison_table(compared.result) in done.stdout


@pytest.mark.slow
def test_each_fold_is_tested_by_a_model_trained_without_it(
    spark: SparkSession, ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folds of one window, and a second run that trains nothing."""
    for module in (comparing, compare_models):
        monkeypatch.setattr(module, "NAMES", ("length only",), raising=False)
    monkeypatch.setattr(compare_models, "folds_of", lambda prepared: 2)
    folds: list[int | None] = []

    def launch(plan: TrainingPlan, record: Any, say: Any) -> Trained:
        folds.append(plan.fold)
        return train_here(plan, record, say)

    # A third of the patients validate: of so few, a tenth may have nobody who came back.
    prepared = Path(ward.prepared.path)
    table = pq.read_table(prepared / "cohort")
    cohort = table.to_pandas()
    cohort["split"] = cohort.split.where(cohort.subject_id % 3 > 0, "validation")
    at = table.column_names.index("split")
    table = table.set_column(at, "split", pa.array(cohort.split))
    for name in ("chunks", "documents", "subgroups"):
        (tmp_path / name).symlink_to(prepared / name)
    (tmp_path / "cohort").mkdir()
    # Timestamps as Spark writes them.
    part = tmp_path / "cohort" / "part.parquet"
    pq.write_table(table, part, use_deprecated_int96_timestamps=True)
    cohort = cohort.set_index("hadm_id")
    config = ward.prepared.config.model_copy(update={"windows": ("3days",)})
    prepared = ward.prepared.model_copy(update={"path": str(tmp_path), "config": config})
    other = replace(ward, prepared=prepared)
    output = replace(ward.config.output, root=str(tmp_path / "out"))
    changes = {
        "output": output,
        "compare": Compare(cross_validate=True, incumbents=None),
        "windows": ("3days",),
    }
    result = run(spark, other, launch, **changes)
    assert folds == [0, 1]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/out/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'readmission'")
    runs = {r.info.run_id: r for r in client.search_runs([experiment.experiment_id])}
    nested = {r.info.run_name: r for r in runs.values() if "mlflow.parentRunId" in r.data.tags}
    assert set(nested) == {"fold 1", "fold 2"}
    for each in nested.values():
        parent = runs[each.data.tags["mlflow.parentRunId"]]
        assert parent.info.run_name == "compare-3days"
        assert any(key.startswith("train_loss_lr_") for key in each.data.metrics)
    stayed = cohort[cohort.label.notna() & ~(cohort.midnights < 3)]
    for model in ("readmission", "length only"):
        rows = result.scores[result.scores.model == model]
        assert (cohort.loc[rows.hadm_id].fold.to_numpy() == rows.fold.to_numpy()).all()
        # All of them but those without notes.
        assert len(rows) > 0.9 * stayed.fold.isin([0, 1]).sum()
        values = [roc_auc_score(r.label, r.score) for _, r in rows.groupby("fold")]
        auroc = result.result["windows"]["3days"]["models"][model]["natural"]["auroc"]
        assert auroc["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert not list(tmp_path.glob("out/_training/*"))

    again = run(spark, other, launch, **changes)
    assert again.printed.count("compared before: reused") == 2
    assert again.result == result.result and folds == [0, 1]
    faster = replace(ward.config.train, learning_rate=2e-3)
    run(spark, other, launch, **changes, train=faster)
    assert folds == [0, 1, 0, 1]


def test_a_champion_of_another_split_is_refused(
    spark: SparkSession, ward: Ward, compared: Compared
) -> None:
    split = ward.prepared.config.split.model_copy(update={"seed": 4})
    config = ward.prepared.config.model_copy(update={"split": split})
    prepared = ward.prepared.model_copy(update={"config": config})
    with pytest.raises(UserError, match="split `patient 3`, and the data have `patient 4`"):
        run(spark, replace(ward, prepared=prepared))


def test_an_unprepared_window_is_an_error_that_names_it(
    spark: SparkSession, ward: Ward, compared: Compared
) -> None:
    config = ward.prepared.config.model_copy(update={"windows": ("3days",)})
    prepared = ward.prepared.model_copy(update={"config": config})
    with pytest.raises(UserError, match="windows: 2days, discharge not prepared, only 3days"):
        run(spark, replace(ward, prepared=prepared))


@pytest.mark.slow
def test_words_are_counted_as_scikit_learn_counts_them(
    spark: SparkSession, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bag of words and TF-IDF give scikit-learn's probabilities, from text to probability."""
    monkeypatch.setattr(baselines, "PENALTIES", (0.001, 1.0))
    with start_run(spark, ward.config, "compare") as compare_run:
        data = read_baseline_data(compare_run, ward.prepared, "3days", ["3days"], None)
    rows = data.chunks.localCheckpoint()
    train = rows.where("part = 'train'")
    texts = train.select("chunk_index", "hadm_id", "text", "label").toPandas()
    others = rows.where("part != 'train'").toPandas()
    for stages, counter in (
        (baselines.bag_of_words(), CountVectorizer(token_pattern=rf"{WORD}")),
        (baselines.tf_idf(), CountVectorizer(token_pattern=rf"{WORD}", ngram_range=(1, 2),
                                             min_df=2)),
    ):  # fmt: skip
        features = baselines.fitted_features(stages, train, rows)
        fitted = baselines.logistic(
            features.where("part = 'train'"),
            features.where("part != 'train'"),
            lambda _: (1.0, 8.0),
            standardize=len(stages) == 2,
        )
        assert fitted[1:] == (0.001, 8.0)  # the first of equals
        ours = fitted[0].toPandas().set_index(["window", "hadm_id", "chunk_index"]).probability

        x, z = counter.fit_transform(texts.text), counter.transform(others.text)
        if len(stages) > 2:
            weigh = TfidfTransformer(smooth_idf=True, norm="l2").fit(x)
            # Spark's IDF is log((n + 1) / (df + 1)); scikit-learn adds 1 to it.
            weigh.idf_ = weigh.idf_ - 1
            x, z = weigh.transform(x), weigh.transform(z)
        x, z = x.toarray(), z.toarray()
        spread = x.std(0, ddof=1)
        varies = spread > 0
        if len(stages) > 2:  # TF-IDF is not standardised
            spread = np.ones_like(spread)
        model = LogisticRegression(C=1 / (0.001 * len(x)), tol=1e-10, max_iter=5000)
        model.fit(x[:, varies] / spread[varies], texts.label)
        expected = model.predict_proba(z[:, varies] / spread[varies])[:, 1]
        ours = ours.loc[list(zip(others.window, others.hadm_id, others.chunk_index, strict=True))]
        assert np.abs(ours.to_numpy() - expected).max() < 0.02
        assert np.corrcoef(ours, expected)[0, 1] > 0.999


def test_c_of_a_baseline_is_the_best_on_validation(spark: SparkSession) -> None:
    """It equals a search over all values, and the first of equal values wins."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"hadm_id": random.integers(0, 40, 200)})
    rows["chunk_index"] = rows.groupby("hadm_id").cumcount()
    rows["probability"] = random.random(200).round(2)
    cohort = pd.DataFrame({"hadm_id": range(40), "subject_id": range(40)})
    cohort["label"] = random.integers(0, 2, 40)
    aurocs = {}
    for c in (0.1, 1.0, 8.0):
        votes = rows.groupby("hadm_id").probability.agg(lambda p, c=c: vote_score(p.tolist(), c))
        aurocs[c] = roc_auc_score(cohort.label[votes.index], votes)
    best = max(aurocs, key=lambda c: aurocs[c])
    assert len(set(aurocs.values())) == 3
    frames = spark.createDataFrame(rows), spark.createDataFrame(cohort)
    config = load_config(overrides=["tune.vote_c=[0.1, 1, 8]"])
    assert best_c(*frames, config) == (pytest.approx(aurocs[best], abs=1e-12), best)
    for c in (1.0, 8.0):
        fixed = best_c(*frames, load_config(overrides=[f"vote.c={c}"]))
        assert fixed == (pytest.approx(aurocs[c], abs=1e-12), c)
    with pytest.raises(UserError, match="on validation, as there is no readmitted admission"):
        best_c(frames[0], frames[1].withColumn("label", F.lit(0)), config)


def test_a_fold_is_the_test_set_of_its_training(spark: SparkSession, ward: Ward) -> None:
    cohort = pq.read_table(f"{ward.prepared.path}/cohort").to_pandas().set_index("hadm_id")
    with start_run(spark, ward.config, "compare") as compare_run:
        data = read_baseline_data(compare_run, ward.prepared, "3days", ["2days", "3days"], 1)
    rows = data.chunks.select("hadm_id", "part", "window").distinct().toPandas()
    fold = cohort.loc[rows.hadm_id].fold.to_numpy()
    assert ((rows.part == "test") == (fold == 1)).all()
    assert set(rows[rows.part == "test"].window) == {"2days", "3days"}
    assert set(rows[rows.part != "test"].window) == {"3days"}
    side = cohort.loc[rows[rows.part == "validation"].hadm_id].split
    assert set(side) == {"validation"}
    balanced = data.train.groupBy("label").agg(F.countDistinct("hadm_id")).collect()
    by_label = dict(balanced)
    assert by_label[0] >= by_label[1] > 0


def test_several_folds_show_mean_and_standard_deviation(compared: Compared, ward: Ward) -> None:
    one = compared.scores[compared.scores.window == "discharge"]
    folds = pd.concat([one.assign(fold=0), one.assign(fold=1, score=1 - one.score)])
    result = comparison_result(folds, None, ward.config, NAMES)
    assert result["folds"] == 2
    auroc = result["windows"]["discharge"]["models"]["TF-IDF"]["natural"]["auroc"]
    rows = one[one.model == "TF-IDF"]
    value = roc_auc_score(rows.label, rows.score)
    assert auroc["mean"] == pytest.approx(0.5)
    assert auroc["sd"] == pytest.approx(abs(2 * value - 1) / np.sqrt(2))
    assert f"0.500 ± {auroc['sd']:.3f}" in comparison_table(result)
    assert "mean ± standard deviation over 2 folds" in comparison_page(result).lower()


def test_published_figures_are_shown_beside_ours(compared: Compared, ward: Ward) -> None:
    rows = {row.name: row for row in table_rows(
        compared.result["windows"]["2days"]["models"], "2days")}  # fmt: skip
    assert rows["readmission"].published == ["", "", ""]  # it may be any transformer
    published = rows["ClinicalBERT, published"].published
    assert published == ["0.674 ± 0.038", "0.674 ± 0.039", "0.154 ± 0.099"]
    assert rows["BERT, published"].published == ["0.659", "0.656", "0.141"]
    assert rows["bag of words"].published == ["0.648", "0.650", "0.144"]
    assert rows["length only"].published == ["", "", ""]
    assert rows["ClinicalBERT, article"].published == ["0.748", "", "0.387"]
    for window, names in {
        "discharge": {"bag of words": (0.684, 0.674, 0.217), "BiLSTM": (0.694, 0.686, 0.223),
                      "BERT": (0.692, 0.678, 0.172), "ClinicalBERT": (0.714, 0.701, 0.242)},
        "2days": {"bag of words": (0.648, 0.650, 0.144), "BiLSTM": (0.649, 0.660, 0.143),
                  "BERT": (0.659, 0.656, 0.141), "ClinicalBERT": (0.674, 0.674, 0.154)},
        "3days": {"bag of words": (0.654, 0.657, 0.122), "BiLSTM": (0.656, 0.668, 0.150),
                  "BERT": (0.661, 0.668, 0.167), "ClinicalBERT": (0.672, 0.677, 0.170)},
    }.items():  # fmt: skip
        for name, figures in names.items():
            assert tuple(figure.mean for figure in PAPER[window][name].values()) == figures
    page = (ward.root / "compare.html").read_text()
    assert "0.748" in page and "data:image/png;base64," in page and "://" not in page
    assert json.loads((ward.root / "compare.json").read_text()) == compared.result


def test_train_window_must_be_an_early_window() -> None:
    config = load_config(overrides=["train.window=discharge"])
    with pytest.raises(UserError, match=r"train\.window is discharge: of the early windows"):
        windows_by_training(config, WINDOWS)
    assert windows_by_training(config, ["discharge"]) == {"discharge": ["discharge"]}
    assert windows_by_training(load_config(), WINDOWS) == {
        "3days": ["2days", "3days"], "discharge": ["discharge"]
    }  # fmt: skip
