"""Training on several processes: through TorchDistributor, on gloo, with a tiny model."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.training import launch, rank_process
from readmit_spark.training.checkpoints import Checkpoints, load_best_model
from readmit_spark.training.finetune import finetune
from readmit_spark.training.launch import run_on_ranks, train_here, train_on_ranks
from readmit_spark.training.plan import Trained, TrainingPlan
from tests.prepared import WINDOW, learnable, plan

EQUAL = 1e-3


LEARNING_RATE = 2e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return learnable(tmp_path_factory.mktemp("prepared"), train=50)


def losses(trained: Trained) -> list[float]:
    return [values["train_loss"] for _, values in trained.history if "train_loss" in values]


def quiet(*_: Any) -> None:
    pass


def with_two(spark: SparkSession, plan: TrainingPlan) -> Trained:
    return train_on_ranks(spark, 2, plan, quiet, finetune)


class Undisturbed(NamedTuple):
    """A training of two processes as children of the driver. recorded: the steps that its log got.
    output: what was printed."""

    plan: TrainingPlan
    trained: Trained
    recorded: list[int]
    output: str


@pytest.fixture(scope="module")
def undisturbed(
    spark: SparkSession, tiny_model: str, folder: str, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    work = tmp_path_factory.mktemp("children")
    children = plan(tiny_model, folder, work, log_every=1, learning_rate=LEARNING_RATE)
    recorded: list[int] = []
    with redirect_stdout(io.StringIO()) as output:
        trained = train_on_ranks(
            spark, 2, children, lambda values, step, steps: recorded.append(step), finetune
        )
    return Undisturbed(children, trained, recorded, output.getvalue())


def test_one_and_two_processes_train_alike(
    spark: SparkSession,
    tiny_model: str,
    folder: str,
    undisturbed: Undisturbed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With dropout. In the driver; as its children; and as tasks of a barrier stage."""
    plans = [
        plan(tiny_model, folder, tmp_path / name, log_every=1, learning_rate=LEARNING_RATE)
        for name in ("one", "tasks")
    ]
    one = train_here(plans[0], quiet, quiet)
    assert len(losses(one)) >= 20
    children = undisturbed.trained
    assert undisturbed.recorded == [step for step, _ in children.history]
    # Only the first rank prints.
    assert undisturbed.output.count("step 3/") == 1
    monkeypatch.setattr(launch, "is_local", lambda spark: False)
    tasks = with_two(spark, plans[1])
    assert (tmp_path / "tasks" / "model" / "config.json").exists()
    for two in (children, tasks):
        assert losses(two) == pytest.approx(losses(one), abs=EQUAL)
        assert two.best_step == one.best_step
        expected, scores = (t.scores["validation"][WINDOW] for t in (one, two))
        assert (scores.hadm_ids == expected.hadm_ids).all()
        assert scores.probabilities == pytest.approx(expected.probabilities, abs=EQUAL)
    weights = zip(*(load_best_model(p).parameters() for p in plans[:2]), strict=True)
    assert all(torch.allclose(a, b, atol=EQUAL) for a, b in weights)


def test_a_user_error_on_a_rank_reaches_the_driver(
    spark: SparkSession, tiny_model: str, folder: str, tmp_path: Path
) -> None:
    three = plan(tiny_model, folder, tmp_path, micro_batch_size=8)
    with pytest.raises(
        UserError, match=r"batch_size 8 is not a multiple of train\.micro_batch_size 8"
    ):
        with_two(spark, three)


def test_the_error_of_the_rank_that_failed_is_raised(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    """A chunk of the second rank's part has a token id outside the model's vocabulary."""
    folder = learnable(tmp_path / "in", train=50)
    broken = plan(tiny_model, folder, tmp_path / "work", log_every=1)
    write_invalid_token(broken)
    with pytest.raises(RuntimeError, match=r"rank 1 failed: IndexError: index out of range"):
        with_two(spark, broken)


def write_invalid_token(broken: TrainingPlan) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from readmit_spark.training.schedule import assign_to_lanes
    from readmit_spark.training.shards import admissions_of, read_index

    folder = broken.prepared_folder
    index = read_index(folder, WINDOW, admissions_of(folder, "train", None))
    index = index.balanced_sample(broken.settings.seed)
    row = assign_to_lanes(index.lengths, 2)[1][0]
    for path in Path(folder, f"chunks/window={WINDOW}").iterdir():
        table = pq.read_table(path, partitioning=None)
        matches = (table["hadm_id"].to_numpy() == index.hadm_ids[row]) & (
            table["chunk_index"].to_numpy() == index.chunk_indexes[row]
        )
        ids = table["input_ids"].to_pylist()
        for i in np.flatnonzero(matches):
            ids[i][1] = 10_000
        column = pa.array(ids, pa.list_(pa.int32()))
        at = table.column_names.index("input_ids")
        pq.write_table(table.set_column(at, "input_ids", column), path)


@pytest.mark.slow
def test_a_killed_rank_is_distinguished_from_one_that_lost_its_connection(
    spark: SparkSession,
    tiny_model: str,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def second_is_killed(plan: TrainingPlan, train: Any) -> None:
        import os
        import signal

        from readmit_spark.training import rank_process

        def killed(plan: Any, ranks: Any, log: Any) -> None:
            if ranks.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            ranks.gather(None)

        rank_process.run_rank(plan, killed)

    monkeypatch.setattr(rank_process, "run_rank_process", second_is_killed)
    with pytest.raises(RuntimeError, match="ended without an error message: it was killed"):
        with_two(spark, plan(tiny_model, folder, tmp_path))


@pytest.mark.slow
def test_two_killed_processes_resume_and_end_with_the_same_weights(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """A real kill -9 of the first rank, in step 7, which ends the other rank too."""

    def killed_in_step_seven(plan: TrainingPlan, ranks: Any, log: Any) -> Trained:
        import os
        import signal

        from readmit_spark.training.finetune import finetune

        def stop(values: dict[str, float], step: int, steps: int) -> None:
            log(values, step, steps)
            if step == 7:
                os.kill(os.getpid(), signal.SIGKILL)

        return finetune(plan, ranks, stop)

    whole = undisturbed.plan
    killed = replace(
        whole,
        checkpoint_folder=str(tmp_path),
        settings=replace(whole.settings, checkpoint_minutes=0.0),
    )
    with pytest.raises(RuntimeError, match="ended without an error message: it was killed"):
        train_on_ranks(spark, 2, killed, quiet, killed_in_step_seven)
    assert 0 < Checkpoints(killed.checkpoint_folder).load({}, "cpu").step <= 7
    ended = with_two(spark, killed)
    assert ended.history == undisturbed.trained.history
    pairs = zip(*(load_best_model(p).parameters() for p in (whole, killed)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_more_processes_than_slots_are_refused_at_once(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = spark.sparkContext.defaultParallelism
    with pytest.raises(UserError, match=rf"train\.processes is {slots + 1} but local"):
        run_on_ranks(spark, slots + 1, print)
    # As on a cluster: Spark counts the slots itself, several times, as executors may still start.
    monkeypatch.setattr(launch, "is_local", lambda spark: False)
    with pytest.raises(UserError, match="the cluster has fewer slots"):
        run_on_ranks(spark, 99, print)
