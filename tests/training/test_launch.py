"""Where a training runs, and which error the driver raises; without processes or Spark."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.training import launch
from readmit_spark.training.launch import choose_launch, is_local, train_here, train_on_ranks
from readmit_spark.training.plan import Trained, TrainingPlan
from tests.prepared import plan

LOGGED = ({"train_loss": 0.5}, 2, 9)


@pytest.fixture
def tiny_plan(tmp_path: Path) -> TrainingPlan:
    return plan("models/tiny", "runs/prepare", tmp_path / "checkpoints")


def spark(master: str = "local[2]") -> Any:
    return SimpleNamespace(sparkContext=SimpleNamespace(master=master))


def train(plan: TrainingPlan, ranks: Any, log: Any) -> Trained:
    log(*LOGGED)
    return Trained([(2, LOGGED[0])], 9, 2, {})


def quiet(*_: Any) -> None:
    pass


def test_one_process_trains_here_and_both_logs_hear_it(tiny_plan: TrainingPlan) -> None:
    recorded, said = [], []
    result = choose_launch(None, 1, train)(
        tiny_plan, lambda *values: recorded.append(values), lambda *values: said.append(values)
    )
    assert result.best_step == 2
    assert recorded == said == [LOGGED]


def test_several_processes_train_through_spark(
    tiny_plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def run_on_ranks(session: Any, processes: int, function: Any, *arguments: Any) -> Trained:
        calls.append((session, processes, *arguments))
        return train_here(*arguments[:1], quiet, quiet, arguments[1])  # type: ignore[no-any-return]

    monkeypatch.setattr(launch, "run_on_ranks", run_on_ranks)
    recorded: list[Any] = []
    session = spark()
    choose_launch(session, 3, train)(tiny_plan, lambda *values: recorded.append(values), quiet)
    assert calls == [(session, 3, tiny_plan, train)]
    assert recorded == [LOGGED]  # from the history of the first rank


def failure(rank: int, message: str, kind: str = "error", trace: str = "") -> dict[str, Any]:
    """What a rank records; kind: mistake, error or consequence."""
    return {
        "rank": rank,
        "mistake": kind == "mistake",
        "secondary": kind == "consequence",
        "message": message,
        "trace": trace,
    }


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        (
            [failure(0, "gloo", "consequence"), failure(1, "lower it", "mistake")],
            UserError,
            r"^lower it$",
        ),
        ([failure(1, "bad", trace="line 7")], RuntimeError, r"^rank 1 failed: bad\nline 7$"),
        (
            [failure(0, "gloo", "consequence")],
            RuntimeError,
            r"ended without an error message: .* \(rank 0 reported: gloo\)$",
        ),
        ([], RuntimeError, r"ended without an error message: .* see its output above$"),
    ],
    ids=["mistake", "error", "only a consequence", "nothing recorded"],
)
def test_the_error_of_the_failed_rank_is_raised(
    tiny_plan: TrainingPlan,
    monkeypatch: pytest.MonkeyPatch,
    failures: list[dict[str, Any]],
    kind: type[Exception],
    message: str,
) -> None:
    store = FileStore(tiny_plan.checkpoint_folder)
    store.write_json("failed-old.json", failure(0, "of an earlier attempt", "mistake"))

    def run_on_ranks(*_: Any) -> None:
        for i, failure in enumerate(failures):
            store.write_json(f"failed-{i}.json", failure)
        raise OSError("torchrun failed")

    monkeypatch.setattr(launch, "run_on_ranks", run_on_ranks)
    with pytest.raises(kind, match=message):
        train_on_ranks(spark(), 2, tiny_plan, quiet, train)


@pytest.mark.parametrize(
    ("master", "local"),
    [("local[4]", True), ("local", True), ("yarn", False), ("spark://a", False)],
)
def test_only_a_local_master_is_local(master: str, local: bool) -> None:
    assert is_local(spark(master)) is local
