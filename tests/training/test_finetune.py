"""Fine-tuning on a task that a two-layer BERT can learn: the first words decide the label."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from transformers import Trainer, TrainingArguments, set_seed

from readmit_spark.errors import UserError
from readmit_spark.evaluation.vote import vote_score
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.registry import experiment_run, fetch, make_champion, register
from readmit_spark.training import finetune as finetune_module
from readmit_spark.training.checkpoints import Checkpoints, TrainingState, load_best_model
from readmit_spark.training.finetune import finetune
from readmit_spark.training.optimisation import _parameter_groups, exact_cpu_matmul
from readmit_spark.training.plan import Trained, TrainingPlan
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import epoch_steps
from readmit_spark.training.shards import admissions_of, read_index, read_part, read_tokens
from readmit_spark.training.validation_scores import ChunkScores
from tests.prepared import WINDOW, learnable, plan, rows, write_prepared
from tests.tiny import VOCABULARY

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return learnable(tmp_path_factory.mktemp("prepared"))


def run(plan: TrainingPlan) -> tuple[Trained, list[tuple[int, dict[str, float]]]]:
    logged: list[tuple[int, dict[str, float]]] = []

    def log(values: dict[str, float], step: int, steps: int) -> None:
        assert 0 < step <= steps
        logged.append((step, values))

    return finetune(plan, Ranks.alone(), log), logged


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_it_learns_and_keeps_the_best_epoch(tiny_model: str, tmp_path: Path) -> None:
    tiny_plan = plan(tiny_model, learnable(tmp_path / "in", train=160), tmp_path / "work")
    trained, logged = run(tiny_plan)
    losses = [v["train_loss"] for _, v in logged if "train_loss" in v]
    assert losses[-1] < losses[0]
    chunks = trained.scores["validation"][WINDOW]
    patients = chunks.vote(2.0)
    assert roc_auc_score(patients.labels, patients.scores) > 0.9
    evaluated = {step: v["validation_auroc"] for step, v in logged if "validation_auroc" in v}
    assert evaluated[trained.best_step] == max(evaluated.values())
    assert patients.auroc() == pytest.approx(evaluated[trained.best_step], abs=1e-12)
    # What is kept is what was chunks.
    assert len(chunks.probabilities) == len(chunks.labels) > 60
    assert not load_best_model(tiny_plan).training


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in fp32, as transformers does, also on a CPU with bf16 matrix units."""
    monkeypatch.setattr(finetune_module, "fast_cpu_matmul", exact_cpu_matmul)


@pytest.mark.usefixtures("fp32")
def test_the_first_loss_is_that_of_the_start_model(tiny_model: str, tmp_path: Path) -> None:
    """As transformers computes it, on all training chunks as one batch, without dropout."""
    # The classes have equally many admissions, so the balanced sample is the full set.
    train = [row for row in rows(16, 3) if row["chunk_index"] == 0]
    folder = write_prepared(tmp_path / "in", train + rows(20, 9, "validation", first=1000))
    model = load_for_training(tiny_model).eval()
    losses = []
    for row in train:
        ids, label = torch.tensor([row["input_ids"]]), torch.tensor([[float(row["label"])]])
        losses.append(model(input_ids=ids, labels=label).loss.item())
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(tmp_path / "still")
    for micro in (2, 16):
        sizes = {"batch_size": 16, "micro_batch_size": micro, "log_every": 1, "epochs": 1.0}
        _, logged = run(plan(str(tmp_path / "still"), folder, tmp_path / f"work{micro}", **sizes))
        assert logged[0][1]["train_loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_the_same_seed_gives_the_same_weights(tiny_model: str, folder: str, tmp_path: Path) -> None:
    plans = [plan(tiny_model, folder, tmp_path / str(i), epochs=1.0) for i in range(2)]
    for each in plans:
        run(each)
    assert same_weights(*map(load_best_model, plans))


def test_it_stops_when_validation_no_longer_improves(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    # With a learning rate of almost zero no epoch is better than the first.
    tiny_plan = plan(tiny_model, folder, tmp_path, epochs=6.0, learning_rate=1e-12, patience=2)
    trained, logged = run(tiny_plan)
    evaluations = [step for step, values in logged if "validation_auroc" in values]
    assert len(evaluations) == 3
    assert trained.best_step == evaluations[0]


def test_a_split_without_readmitted_admissions_is_refused(tiny_model: str, tmp_path: Path) -> None:
    train = [row for row in rows(20, 2) if row["label"] == 0]
    folder = write_prepared(tmp_path / "in", train)
    with pytest.raises(UserError, match="the train split has no readmitted admissions"):
        run(plan(tiny_model, folder, tmp_path / "work"))


def test_weight_decay_applies_to_the_same_weights_as_in_transformers(
    tiny_model: str, tmp_path: Path
) -> None:
    model = load_for_training(tiny_model)
    args = TrainingArguments(str(tmp_path), weight_decay=0.3, report_to=[])
    theirs = Trainer(model, args).create_optimizer().param_groups
    ours = _parameter_groups(model, 0.3)
    for our_group, their_group in zip(ours, theirs, strict=True):
        assert our_group["weight_decay"] == their_group["weight_decay"]
        assert set(map(id, our_group["params"])) == set(map(id, their_group["params"]))  # type: ignore[call-overload]


@pytest.mark.usefixtures("fp32")
def test_the_loss_curve_is_that_of_a_trainer_that_pads_to_the_full_width(
    tiny_model: str, tmp_path: Path
) -> None:
    """On the same batches, without dropout, because the two draw it differently."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    folder = learnable(tmp_path / "in", train=160)
    ours = plan(str(model), folder, tmp_path / "ours", epochs=1.0, log_every=1, learning_rate=2e-3)
    losses = [v["train_loss"] for _, v in run(ours)[0].history if "train_loss" in v]
    assert len(losses) >= 20 and np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert losses_of_transformers(ours, tmp_path / "theirs") == pytest.approx(losses, abs=1e-3)


def test_snapshots_are_trained_on_and_validated_with_the_same_weight(
    tiny_model: str, tmp_path: Path
) -> None:
    folder = learnable(tmp_path / "in", train=40)
    # The first midnight has the first chunk of the admissions with an even number of midnights.
    early = [
        row | {"midnights": 5}
        for row in rows(40, 2) + rows(60, 9, "validation", first=1000)
        if row["chunk_index"] == 0 and row["hadm_id"] % 4 < 2
    ]
    other = write_prepared(tmp_path / "early", early, "1days")
    Path(other, "chunks/window=1days").rename(Path(folder, "chunks/window=1days"))
    both = replace(
        plan(tiny_model, folder, tmp_path / "work", epochs=2.0),
        train_windows=("1days", WINDOW), scored_windows=("1days", WINDOW),
    )  # fmt: skip
    trained, logged = run(both)
    sample = read_part(folder, "train", None, both.train_windows).balanced_sample(1)
    assert trained.steps == 2 * math.ceil(len(sample) / 8)
    means = [values["validation_auroc"] for _, values in logged if "validation_auroc" in values]
    aurocs = []
    for scores in trained.scores["validation"].values():
        patients = scores.vote(2.0)
        aurocs.append(roc_auc_score(patients.labels, patients.scores))
    assert max(means) == pytest.approx(np.mean(aurocs), abs=1e-9)
    assert aurocs[0] != aurocs[1]


def losses_of_transformers(ours: TrainingPlan, work: Path) -> list[float]:
    """Train one epoch on the batches of `ours` with transformers' Trainer; return its losses."""
    folder, settings = ours.prepared_folder, ours.settings
    index = read_index(folder, WINDOW, admissions_of(folder, "train", None))
    index = index.balanced_sample(settings.seed)
    chunks = read_tokens(folder, [WINDOW], index)
    labels = torch.from_numpy(index.labels).float()
    steps = [np.concatenate(step) for step in epoch_steps(index.lengths, 2, 4, settings.seed, 0)]
    losses: list[float] = []

    class OurBatches(Trainer):
        def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
            return torch.utils.data.DataLoader(
                range(len(chunks)),  # type: ignore[arg-type]
                batch_sampler=[step.tolist() for step in steps],
                collate_fn=lambda rows: (
                    padded_to_128([chunks[row] for row in rows]) | {"labels": labels[rows, None]}
                ),
            )

        def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    arguments = TrainingArguments(
        str(work),
        max_steps=len(steps),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(len(steps) * settings.warmup_ratio),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    set_seed(settings.seed)
    model, rows = load_for_training(ours.start_model), range(len(chunks))
    OurBatches(model, arguments, train_dataset=rows).train()  # type: ignore[arg-type]
    return losses


def padded_to_128(chunks: list[np.ndarray]) -> dict[str, torch.Tensor]:
    ids = np.zeros((len(chunks), 128), dtype=np.int64)
    for line, chunk in zip(ids, chunks, strict=True):
        line[: len(chunk)] = chunk
    tokens = torch.from_numpy(ids)
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


# --- killed and started again ---------------------------------------------------------------------

KILLED = """
import os, sys
import torch
from readmit_spark.training.checkpoints import Checkpoints, TrainingState, load_best_model
from readmit_spark.training.finetune import finetune
from readmit_spark.training.ranks import Ranks
from tests.prepared import plan

def log(values, step, steps):
    print(step, flush=True)

torch.set_num_threads(1)
model, folder, work = sys.argv[1:]
each = plan(model, folder, work, epochs=3.0, checkpoint_minutes=0.0, log_every=1)
finetune(each, Ranks.alone(), log)
"""


@pytest.fixture(scope="module")
def undisturbed(
    tiny_model: str, folder: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingPlan, Trained]:
    work = tmp_path_factory.mktemp("undisturbed")
    done = plan(tiny_model, folder, work, epochs=3.0, log_every=1, checkpoint_minutes=1e9)
    trained, _ = run(done)
    return done, trained


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_killed_at_any_step_ends_with_the_same_weights(
    tiny_model: str,
    folder: str,
    tmp_path: Path,
    undisturbed: tuple[TrainingPlan, Trained],
    seed: int,
) -> None:
    """A real kill -9 at a random moment of a random step, twice; then training to the end."""
    random = np.random.default_rng(seed)
    command = [sys.executable, "-c", KILLED, tiny_model, folder, str(tmp_path)]
    steps = undisturbed[1].steps
    for nth in range(2):
        stop = int(random.integers(steps * nth // 2 + 1, steps * (nth + 1) // 2))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= stop:
                break
        time.sleep(random.random() * 0.05)  # in the step, its evaluation or its checkpoint
        process.kill()
        process.wait()
        process.stdout.close()
    state = Checkpoints(str(tmp_path)).load({}, "cpu")
    assert state.step > 0
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == "1"  # the log from before the kill is repeated
    resumed = plan(tiny_model, folder, tmp_path)
    assert same_weights(load_best_model(undisturbed[0]), load_best_model(resumed))
    end = Checkpoints(str(tmp_path)).load({}, "cpu")
    assert end.history == undisturbed[1].history


def test_an_incomplete_checkpoint_is_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    layer = torch.nn.Linear(2, 2)
    checkpoints.save(TrainingState(step=3), {"layer": layer})
    (tmp_path / "step-4.pt").write_bytes(b"half a checkpo")
    (tmp_path / "step-5.pt.new").write_bytes(b"less")
    assert checkpoints.load({"layer": layer}, "cpu").step == 3
    checkpoints.save(TrainingState(step=6), {"layer": layer})
    assert {p.name for p in tmp_path.iterdir()} == {"latest.json", "step-6.pt"}


# --- scores and the registry ----------------------------------------------------------------------


def test_patient_scores_are_the_vote_of_each_admission() -> None:
    random = np.random.default_rng(0)
    hadm_ids = random.integers(0, 9, 40)
    p = random.random(40)
    chunks = ChunkScores(hadm_ids // 2, hadm_ids, hadm_ids % 2, p)
    patients = chunks.vote(3.0)
    assert patients.hadm_ids.tolist() == sorted(set(hadm_ids.tolist()))
    for hadm, subject, score, label in zip(
        patients.hadm_ids, patients.subject_ids, patients.scores, patients.labels, strict=True
    ):
        assert score == pytest.approx(vote_score(p[hadm_ids == hadm].tolist(), 3.0), abs=1e-12)
        assert (subject, label) == (hadm // 2, hadm % 2)
    assert chunks.loss() == pytest.approx(log_loss(hadm_ids % 2, p), abs=1e-12)


def test_a_copied_registry_uses_the_artifacts_beside_it(tiny_model: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    first, copy = tmp_path / "first", tmp_path / "copy"
    model, tokenizer = load_for_training(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    first.mkdir()
    with experiment_run(f"sqlite:///{first}/mlflow.db", "e", "r") as mlflow:
        register(mlflow, model, tokenizer, "m", {})
    shutil.copytree(first, copy)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    uri = f"sqlite:///{copy}/mlflow.db"
    with experiment_run(uri, "e", "r") as mlflow:
        register(mlflow, model, tokenizer, "m", {})
        assert mlflow.get_artifact_uri().startswith(copy.as_uri())
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    shutil.rmtree(first)
    assert fetch("models:/m/1", uri)[1] == "m/1"
    assert fetch("models:/m/2", uri)[1] == "m/2"


def test_a_registered_model_loads_unchanged(tiny_model: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    model = load_for_training(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    with experiment_run(uri, "e", "r") as mlflow:
        assert register(mlflow, model, tokenizer, "m", {"a": 1}) == ("m/1", "champion")
        assert register(mlflow, model, tokenizer, "m", {"a": 1}) == ("m/2", "challenger")
    folder, fetched = fetch("models:/m@champion", uri)
    assert fetched == "m/1"
    again = AutoModelForSequenceClassification.from_pretrained(folder)
    assert same_weights(model, again)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(VOCABULARY)
    with pytest.raises(UserError, match="models:/m@nobody is not in the registry"):
        fetch("models:/m@nobody", uri)
    make_champion(uri, "m", "2", "better")
    assert fetch("models:/m@champion", uri)[1] == "m/2"
    assert fetch("models:/m@previous", uri)[1] == "m/1"
    with pytest.raises(UserError, match="m@challenger is not in the registry"):
        fetch("models:/m@challenger", uri)
