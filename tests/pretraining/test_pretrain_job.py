"""The pretrain job: from notes to a registered encoder that can be fine-tuned."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.pretraining.pretrain import pretrain
from readmit_spark.pretraining.pretrain_job import make_examples, pretrain_and_register
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_tokens, check_unseen
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.model import Model, resolve_model
from readmit_spark.storage.manifests import PretrainExamples
from readmit_spark.storage.publish import read_manifest
from readmit_spark.training import launch
from readmit_spark.training.launch import train_here, train_on_ranks
from tests.examples import write_examples
from tests.pretraining.test_pretrain import plan
from tests.runs import start_run
from tests.tiny import save_tiny_model
from tests.ward import Ward, run_job

SHORT = [
    "pretrain.tokens=[256, 512]", "pretrain.steps=[6, 3]", "pretrain.batch_tokens=2048",
    "pretrain.micro_batch_tokens=1024", "pretrain.learning_rate=1e-3", "pretrain.copies=1",
    "train.log_every=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model that accepts 512 tokens: with its vocabulary a letter is a token."""
    return save_tiny_model(tmp_path_factory.mktemp("long"), max_tokens=512)


def settings(ward: Ward, root: Path, *more: str) -> Config:
    return load_config(overrides=[*ward.overrides, f"output.root={root}", *SHORT, *more])


def examples_and_log(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer
) -> tuple[PretrainExamples, str]:
    out = io.StringIO()
    with start_run(spark, config, "pretrain", out) as run:
        return make_examples(run, tokenizer), out.getvalue()


@pytest.fixture(scope="module")
def pretrained(
    spark: SparkSession,
    ward: Ward,
    tokenizer: ChunkTokenizer,
    long_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Config, list[Any], str]:
    config = settings(ward, tmp_path_factory.mktemp("pretrain"))
    examples, _ = examples_and_log(spark, config, tokenizer)
    out = io.StringIO()
    name, alias, phases = pretrain_and_register(
        config, Model(long_model, "tiny"), examples, Progress("pretrain", 4, out)
    )
    assert (name, alias) == ("readmission-encoder/1", "champion")
    return config, phases, out.getvalue()


def test_phases_follow_each_other(pretrained: tuple[Config, list[Any], str]) -> None:
    config, phases, log = pretrained
    assert [phase.steps for phase in phases] == [6, 3]
    for phase in phases:
        assert set(phase.before) == set(phase.after) == {"mlm_accuracy", "nsp_accuracy"}
        assert all(0 <= share <= 1 for share in (*phase.before.values(), *phase.after.values()))
    assert "train: 6 steps of 256 tokens" in log and "step 3/6: train_loss" in log
    mlflow.set_tracking_uri(config.tracking_uri)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert sorted(runs["tags.mlflow.runName"]) == ["256 tokens", "512 tokens", "pretrain"]
    assert runs["metrics.nsp_accuracy"].notna().sum() == 2
    # No training data is left except the examples.
    assert not list((Path(config.output_root) / "_training").iterdir())


def test_the_encoder_can_be_fine_tuned(
    pretrained: tuple[Config, list[Any], str], ward: Ward
) -> None:
    config, _, _ = pretrained
    encoder = resolve_model(config, "models:/readmission-encoder@champion")
    assert not encoder.has_head
    check_tokens(encoder, ward.prepared)
    check_unseen(encoder, ward.prepared.split_name)
    model = load_for_training(encoder.folder)
    assert model.config.num_labels == 1
    with pytest.raises(UserError, match="trained with the split `patient 3`, and the data have `p"):
        check_unseen(encoder, "patient 4")
    with pytest.raises(UserError, match="trained on patients whom the folds test"):
        check_unseen(encoder, None)


def test_examples_are_made_once(
    spark: SparkSession,
    pretrained: tuple[Config, list[Any], str],
    tokenizer: ChunkTokenizer,
) -> None:
    config, _, _ = pretrained
    again, log = examples_and_log(spark, config, tokenizer)
    assert "made before" in log
    more_steps = replace(config, pretrain=replace(config.pretrain, steps=(9, 9)))
    assert examples_and_log(spark, more_steps, tokenizer)[0].run == again.run
    other = replace(config, pretrain=replace(config.pretrain, copies=2))
    with pytest.raises(UserError, match="has a result of pretrain already"):
        examples_and_log(spark, other, tokenizer)
    nowhere = replace(config, data=replace(config.data, notes="/none/notes"))
    with pytest.raises(UserError, match=r"data\.notes: /none/notes does not exist"):
        examples_and_log(spark, nowhere, tokenizer)
    overwrite = replace(other, output=replace(config.output, overwrite=True))
    assert examples_and_log(spark, overwrite, tokenizer)[0].run != again.run


def test_categories_without_a_note_are_a_user_error(
    spark: SparkSession, ward: Ward, tokenizer: ChunkTokenizer, long_model: str, tmp_path: Path
) -> None:
    config = settings(ward, tmp_path, "pretrain.categories=[nobody]")
    examples, _ = examples_and_log(spark, config, tokenizer)
    with pytest.raises(UserError, match=r"none of the categories in pretrain\.categories"):
        pretrain_and_register(
            config, Model(long_model, "tiny"), examples, Progress("p", 4, io.StringIO())
        )


def test_every_note_is_counted_and_a_broken_table_is_refused(
    spark: SparkSession, ward: Ward, tokenizer: ChunkTokenizer, tmp_path: Path
) -> None:
    header = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
    sentence = "Resting comfortably without pain and eating well this morning. "
    rows = [f'{i},{i},1,2150-01-02,,Nursing,,"{9 * sentence}"\n' for i in range(60)]
    rows += [f",1,1,2150-01-02,,Nursing,,{sentence}\n", f"99,1,1,2150-01-02,,ECG,,{sentence}\n"]
    notes = tmp_path / "NOTES.csv"
    notes.write_text(header + "".join(rows))
    config = settings(ward, tmp_path / "out", f"data.notes={notes}")
    _, log = examples_and_log(spark, config, tokenizer)
    counts = read_manifest(spark, config.output_root, "pretrain")["notes"]
    assert counts["learnt"] + counts["tested"] == 60 and counts["tested"] > 0
    line = (
        f"62 notes: {counts['learnt']} to learn from, {counts['tested']} of test patients, "
        "1 without ROW_ID or SUBJECT_ID, 1 of other categories, empty or marked as errors"
    )
    assert line in log

    notes.write_text(header + "".join(rows).replace('"', "", 1))
    broken = settings(ward, tmp_path / "broken", f"data.notes={notes}")
    with pytest.raises(UserError, match=r"data\.notes: .*a quote is not closed or not doubled"):
        examples_and_log(spark, broken, tokenizer)
    notes.write_text(header + "".join(rows) + "100,1,1\n")
    with pytest.raises(UserError, match=r"data\.notes: .* 1 rows with more or fewer fields"):
        examples_and_log(spark, broken, tokenizer)
    assert not (tmp_path / "broken" / "_manifests").exists()


@pytest.mark.slow
def test_a_job_killed_in_the_second_phase_resumes_there(
    spark: SparkSession,
    ward: Ward,
    tokenizer: ChunkTokenizer,
    long_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = settings(ward, tmp_path, "train.checkpoint_minutes=0", "train.log_every=1")
    examples, _ = examples_and_log(spark, config, tokenizer)
    taken: list[tuple[int, int]] = []
    kill = [True]

    def killed_launch(plan: Any, record: Any, say: Any, train: Any) -> Any:
        def log(values: dict[str, float], step: int, steps: int) -> None:
            if "train_loss" in values:
                taken.append((plan.tokens, step))
                if kill[0] and (plan.tokens, step) == (512, 2):
                    raise KeyboardInterrupt

        return original_launch(plan, record, log, train)

    original_launch: Callable[..., Any] = train_here
    monkeypatch.setattr(launch, "train_here", killed_launch)

    def run() -> Any:
        start = Model(long_model, "tiny")
        return pretrain_and_register(config, start, examples, Progress("p", 4, io.StringIO()))

    with pytest.raises(KeyboardInterrupt):
        run()
    first, kill[0] = list(taken), False
    taken.clear()
    run()
    # Earlier steps are logged again; the second phase resumes from its checkpoint.
    assert first == [*((256, i) for i in range(1, 7)), (512, 1), (512, 2)]
    assert taken == [*((256, i) for i in range(1, 7)), *((512, i) for i in range(1, 4))]


@pytest.mark.slow
def test_one_and_two_processes_train_alike(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    folder = write_examples(tmp_path / "examples", train=120, held_out=40)
    plans = [plan(tiny_model, folder, tmp_path / name, 20) for name in ("one", "two")]
    quiet: Callable[..., None] = lambda *_: None  # noqa: E731
    one = train_here(plans[0], quiet, quiet, pretrain)
    two = train_on_ranks(spark, 2, plans[1], quiet, pretrain)
    losses = [[v["train_loss"] for _, v in t.history if "train_loss" in v] for t in (one, two)]
    assert len(losses[0]) == 20
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    for key in ("mlm_accuracy", "nsp_accuracy"):
        assert two.before[key] == one.before[key]


@pytest.mark.slow
def test_the_job_prints_accuracies_and_no_text(ward: Ward, long_model: str, tmp_path: Path) -> None:
    more = [*SHORT, f"model.path={long_model}"]
    job = run_job("pretrain", ward, tmp_path, f"output.root={tmp_path}/out", *more)
    assert job.returncode == 0, job.stderr
    assert "6 x 256  tokens" in job.stdout and "ClinicalBERT .857" in job.stdout
    assert "registered readmission-encoder/1 as the champion" in job.stderr
    assert "patient" not in job.stdout and "denies" not in job.stdout + job.stderr
