"""What a rank records when it fails, and which model folder it reads; without other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from readmit_spark.errors import UserError
from readmit_spark.training import rank_process
from readmit_spark.training.plan import TrainingPlan
from readmit_spark.training.rank_process import (
    copy_model,
    delete_failures,
    read_failures,
    run_rank,
)
from readmit_spark.training.ranks import Ranks
from tests.prepared import plan


@pytest.fixture(autouse=True)
def only_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "join", lambda: Ranks(0, 1, torch.device("cpu")))


@pytest.fixture
def tiny_plan(tmp_path: Path) -> TrainingPlan:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return plan(str(model), "runs/prepare", tmp_path / "checkpoints")


def fail(error: Exception) -> Any:
    def train(plan: Any, ranks: Ranks, log: Any) -> None:
        raise error

    return train


def test_it_trains_and_prints_the_log(
    tiny_plan: TrainingPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(plan: TrainingPlan, ranks: Ranks, log: Any) -> str:
        log({"train_loss": 0.5}, 2, 9)
        return plan.start_model

    assert run_rank(tiny_plan, train) == tiny_plan.start_model
    assert capsys.readouterr().out == "training: step 2/9: train_loss 0.500\n"
    assert read_failures(tiny_plan.checkpoint_folder) == []


def test_an_error_is_recorded_with_rank_and_traceback(tiny_plan: TrainingPlan) -> None:
    with pytest.raises(IndexError):
        run_rank(tiny_plan, fail(IndexError("index out of range")))
    (failure,) = read_failures(tiny_plan.checkpoint_folder)
    assert (failure["rank"], failure["mistake"], failure["secondary"]) == (0, False, False)
    assert failure["message"] == "IndexError: index out of range"
    assert "Traceback" in failure["trace"]


def test_a_lost_connection_is_a_consequence(tiny_plan: TrainingPlan) -> None:
    with pytest.raises(RuntimeError):
        run_rank(tiny_plan, fail(RuntimeError("[gloo] Connection closed by peer")))
    (failure,) = read_failures(tiny_plan.checkpoint_folder)
    assert failure["secondary"]


def test_causes_come_before_consequences(
    tiny_plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [RuntimeError("NCCL: timeout"), IndexError("row"), UserError("lower it")]
    for process, error in enumerate(errors):
        monkeypatch.setattr(rank_process.os, "getpid", lambda process=process: process)
        with pytest.raises(type(error)):
            run_rank(tiny_plan, fail(error))
        if process == 0:
            assert len(read_failures(tiny_plan.checkpoint_folder)) == 1
    messages = [f["message"] for f in read_failures(tiny_plan.checkpoint_folder)]
    assert messages == ["lower it", "IndexError: row", "RuntimeError: NCCL: timeout"]


def test_a_mistake_ends_a_second_attempt_before_it_trains(tiny_plan: TrainingPlan) -> None:
    with pytest.raises(UserError):
        run_rank(tiny_plan, fail(UserError("lower train.batch_size")))
    with pytest.raises(UserError, match=r"lower train\.batch_size"):
        run_rank(tiny_plan, fail(AssertionError("it trained")))
    delete_failures(tiny_plan.checkpoint_folder)
    assert read_failures(tiny_plan.checkpoint_folder) == []
    assert run_rank(tiny_plan, lambda plan, ranks, log: "trained") == "trained"


def test_the_model_is_copied_where_all_machines_read_it(tiny_plan: TrainingPlan) -> None:
    copied = copy_model(tiny_plan)
    assert copied.start_model == f"{tiny_plan.checkpoint_folder}/model"
    assert Path(copied.start_model, "config.json").read_text() == "{}"
    assert copied.prepared_folder == tiny_plan.prepared_folder


# A process whose C libraries abort when it ends, as threads of gloo sometimes do.
ABORTS_AT_ITS_END = """
import ctypes
from readmit_spark.training import rank_process
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)
rank_process.run_rank = lambda plan, train: "trained"
print(rank_process.run_rank_process(None, None))
"""


@pytest.mark.parametrize(
    ("more", "fails"), [("", False), ("raise OSError('disk full')", True)], ids=["success", "error"]
)
def test_a_crash_of_the_clean_up_fails_no_training(more: str, fails: bool) -> None:
    program = [sys.executable, "-c", ABORTS_AT_ITS_END + more]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.stdout == "trained\n"
    assert ("OSError: disk full" in ended.stderr) == fails
    assert (ended.returncode != 0) == fails
