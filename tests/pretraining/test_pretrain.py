"""Pretraining in one process: losses and accuracies as in transformers; resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForPreTraining, DistilBertConfig, DistilBertModel

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.pretraining import pretrain as pretrain_module
from readmit_spark.pretraining.pretrain import (
    Pretrained,
    PretrainPlan,
    check_bert,
    load_pretrained,
    load_start_model,
    pretrain,
)
from readmit_spark.pretraining.read_examples import read_examples, read_index
from readmit_spark.training.launch import train_here
from readmit_spark.training.optimisation import exact_cpu_matmul
from tests.examples import TOKENS, examples, write_examples

HELD_OUT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_examples(tmp_path_factory.mktemp("examples"), train=200, held_out=HELD_OUT)


@pytest.fixture(scope="module")
def still(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with both heads and without dropout: its loss can be computed by hand."""
    model = BertForPreTraining.from_pretrained(tiny_model)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    path = tmp_path_factory.mktemp("still")
    model.save_pretrained(path)
    return str(path)


def plan(model: str, folder: str, work: Path, steps: int = 10, **changes: Any) -> PretrainPlan:
    config = load_config()
    train = {k: changes.pop(k) for k in list(changes) if hasattr(config.train, k)
             and k != "learning_rate"}  # fmt: skip
    sizes = {"batch_tokens": 16 * TOKENS, "micro_batch_tokens": 8 * TOKENS}
    return PretrainPlan(
        start_model=model,
        examples_folder=folder,
        tokens=TOKENS,
        steps=steps,
        settings=replace(config.pretrain, **{**sizes, **changes}),
        train=replace(config.train, **{"log_every": 1, "learning_rate": 2e-3, **train}),
        scratch=False,
        checkpoint_folder=str(work),
    )


def run(plan: PretrainPlan, log: Any = lambda *_: None) -> Pretrained:
    result: Pretrained = train_here(plan, log, lambda *_: None, pretrain)
    return result


def by_bert(model: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """Labels and output of transformers' BERT for each example, one at a time."""
    outputs = []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        labels = torch.full_like(ids, -100)
        labels[0, row["masked"]] = torch.tensor(row["answers"])
        types = (torch.arange(ids.shape[1]) >= row["n_first"]).long()[None]
        with torch.no_grad():
            outputs.append(
                (labels, model.eval()(input_ids=ids, token_type_ids=types)),
            )
    return outputs


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute as transformers does, also on a CPU with bf16 matrix units.

    The pair logits of an untrained model are nearly equal: bf16 turns some of their answers.
    """
    monkeypatch.setattr(pretrain_module, "fast_cpu_matmul", exact_cpu_matmul)


@pytest.mark.usefixtures("in_fp32")
def test_the_first_loss_is_that_of_transformers(still: str, tmp_path: Path) -> None:
    """One step on all examples: the mean over masked words plus the mean over pairs."""
    n = 16
    folder = write_examples(tmp_path / "in", train=n, held_out=4)
    rows = examples(n, seed=n)
    words, pairs = [], []
    for row, (labels, out) in zip(rows, by_bert(load_plan(still), rows), strict=True):
        logits = out.prediction_logits[labels != -100]
        words += torch.nn.functional.cross_entropy(
            logits, labels[labels != -100], reduction="none"
        ).tolist()
        pairs.append(
            torch.nn.functional.cross_entropy(
                out.seq_relationship_logits, torch.tensor([0 if row["is_next"] else 1])
            ).item()
        )
    for micro in (2, n):
        result = run(
            plan(still, folder, tmp_path / str(micro), 1, micro_batch_tokens=micro * TOKENS)
        )
        losses = [values["train_loss"] for _, values in result.history if "train_loss" in values]
        assert losses == [pytest.approx(np.mean(words) + np.mean(pairs), abs=1e-5)]


def load_plan(model: str) -> Any:
    return load_start_model(plan(model, "", Path("unused")))


@pytest.mark.usefixtures("in_fp32")
def test_accuracies_are_those_counted_by_hand(still: str, folder: str, tmp_path: Path) -> None:
    rows = examples(HELD_OUT, seed=HELD_OUT)
    words, pairs = [], []
    for row, (labels, out) in zip(rows, by_bert(load_plan(still), rows), strict=True):
        is_masked = labels != -100
        words += (out.prediction_logits.argmax(-1)[is_masked] == labels[is_masked]).tolist()
        pairs.append(out.seq_relationship_logits.argmax().item() == (0 if row["is_next"] else 1))
    result = run(plan(still, folder, tmp_path, 1))
    assert result.before["mlm_accuracy"] == pytest.approx(np.mean(words), abs=1e-12)
    assert result.before["nsp_accuracy"] == pytest.approx(np.mean(pairs), abs=1e-12)


@pytest.mark.slow
def test_both_accuracies_rise(tiny_model: str, folder: str, tmp_path: Path) -> None:
    result = run(plan(tiny_model, folder, tmp_path, 150))
    assert result.after["mlm_accuracy"] > result.before["mlm_accuracy"] + 0.3
    assert result.after["nsp_accuracy"] > max(0.9, result.before["nsp_accuracy"])
    assert result.history[-1][0] == 150


@pytest.mark.slow
def test_a_training_killed_at_any_step_ends_with_the_same_weights(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    """With dropout, across the end of an epoch of 13 steps."""
    undisturbed_plan = plan(tiny_model, folder, tmp_path / "whole", 18, checkpoint_minutes=0.0)
    undisturbed = run(undisturbed_plan)
    killed_plan = replace(undisturbed_plan, checkpoint_folder=str(tmp_path / "broken"))

    class Killed(Exception):
        pass

    for at in (1, 2, 13, 14, 17):

        def log(values: dict[str, float], step: int, steps: int, at: int = at) -> None:
            if step == at and "train_loss" in values:
                raise Killed

        with pytest.raises(Killed):
            run(killed_plan, log)
    assert run(killed_plan).history == undisturbed.history
    expected, weights = (load_pretrained(p).state_dict() for p in (undisturbed_plan, killed_plan))
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_a_finished_phase_is_not_trained_again(
    tiny_model: str, folder: str, tmp_path: Path
) -> None:
    done = plan(tiny_model, folder, tmp_path, 2)
    assert run(done).history == run(done).history


def test_from_scratch_only_the_shape_is_used(tiny_model: str, folder: str, tmp_path: Path) -> None:
    first = plan(tiny_model, folder, tmp_path)
    second = replace(first, scratch=True, train=replace(first.train, seed=8))
    start, fresh = load_start_model(first), load_start_model(second)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert start.state_dict()[name].shape == fresh.state_dict()[name].shape
    assert not torch.equal(start.state_dict()[name], fresh.state_dict()[name])


def test_user_errors_have_clear_messages(tiny_model: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="200 training examples of 32 tokens, but a step takes 304"):
        run(plan(tiny_model, folder, tmp_path, batch_tokens=304 * TOKENS))
    with pytest.raises(UserError, match=r"16 is not a multiple of pretrain\.micro_batch_tokens 5"):
        run(plan(tiny_model, folder, tmp_path, micro_batch_tokens=5 * TOKENS))
    with pytest.raises(UserError, match="the notes give no train example of 64 tokens"):
        run(replace(plan(tiny_model, folder, tmp_path), tokens=64))
    with pytest.raises(UserError, match="examples have 256 tokens, but the model accepts 128"):
        check_bert(tiny_model, 256)
    DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_heads=2, hidden_dim=32, n_layers=1)
                    ).save_pretrained(tmp_path / "distil")  # fmt: skip
    with pytest.raises(UserError, match="pretraining needs a BERT, not distilbert"):
        check_bert(str(tmp_path / "distil"), TOKENS)


def test_only_the_requested_examples_are_read(folder: str) -> None:
    expected = examples(200, seed=200)
    index = read_index(folder, TOKENS, "train")
    assert index.lengths.tolist() == [len(row["input_ids"]) for row in expected]
    assert index.n_masked.tolist() == [len(row["masked"]) for row in expected]
    rows = np.array([150, 3, 99, 100])
    read = read_examples(folder, TOKENS, "train", rows)
    assert sorted(read) == sorted(rows.tolist())
    for row, example in read.items():
        assert example.input_ids.tolist() == expected[row]["input_ids"]
        assert example.masked.tolist() == expected[row]["masked"]
        assert example.answers.tolist() == expected[row]["answers"]
        assert (example.n_first, example.is_next) == (
            expected[row]["n_first"],
            expected[row]["is_next"],
        )
