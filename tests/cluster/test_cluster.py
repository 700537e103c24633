"""jobs/score.py on a cluster of two nodes, as on EMR but for YARN and the cards."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import NODES, Score
from tests.cluster.jobs import Ran
from tests.cluster.standalone import ROOT, Cluster


@pytest.fixture(scope="module")
def quiet(score: Score) -> Ran:
    """A night on which nothing happens."""
    done = score().end()
    assert done.code == 0, done.said
    return done


def executor_of(pid: int) -> psutil.Process:
    """The executor's Java above a Python worker."""
    return next(
        process
        for process in psutil.Process(pid).parents()
        if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())
    )


def test_the_nodes_python_does_not_know_the_clone(cluster: Cluster) -> None:
    found = subprocess.run(
        [cluster.python, "-c", "import torch, pyspark, readmit_spark"],
        capture_output=True, text=True, cwd="/", env={},
    )  # fmt: skip
    assert "No module named 'readmit_spark'" in found.stderr


def test_scores_are_local_modes_bit_for_bit(quiet: Ran, local: Ran) -> None:
    assert len(quiet.scores["patient_scores"]) == 120
    assert len({row["probability"] for row in quiet.scores["chunk_scores"]}) > 500
    assert quiet.scores == local.scores
    assert {event["node"] for event in local.events} == {"local"}


def test_code_comes_with_the_job(quiet: Ran) -> None:
    for event in quiet.events:
        if event["what"] == "built":
            assert "readmit_spark.zip/readmit_spark/__init__.py" in event["package"]
            assert not event["package"].startswith(str(ROOT))


def test_each_task_has_a_gpu_and_each_gpu_one_model(quiet: Ran) -> None:
    built = [event for event in quiet.events if event["what"] == "built"]
    gpus = [(event["node"], event["gpu"]) for event in built]
    assert sorted(gpus) == sorted((node, gpu) for node, own in NODES.items() for gpu in own)
    # A worker process serves its executor's tasks one after another, with the model it has.
    tasks = [event for event in quiet.events if event["what"] == "task"]
    where = {event["pid"]: (event["node"], event["gpu"]) for event in built}
    assert len(tasks) > len(built)
    assert all(where[task["pid"]] == (task["node"], task["gpu"]) for task in tasks)


def test_torch_sees_the_tasks_gpu_alone_from_the_start(quiet: Ran) -> None:
    built = [event for event in quiet.events if event["what"] == "built"]
    assert all(event["cuda"] == event["gpu"] for event in built)
    # One worker may be the probe's, which imported torch before it was watched.
    first = [event for event in built if event["torch_saw"] != "imported before"]
    assert len(first) >= len(built) - 1
    assert all(event["torch_saw"] == event["gpu"] for event in first)


def test_the_model_reaches_each_executor_once(quiet: Ran, tiny_model: str) -> None:
    built = [event for event in quiet.events if event["what"] == "built"]
    for event in built:
        folder = Path(event["model"])
        assert event["executor"] in folder.parts and event["node"] in folder.parts
        assert str(folder) != tiny_model


# --- what goes wrong ------------------------------------------------------------------------------


def test_an_executor_killed_in_the_middle_costs_its_tasks_again(score: Score, local: Ran) -> None:
    running = score("hold")
    held = running.wait_for("task", 3)  # a task on each GPU, none of them done
    victim = held[0]
    executor_of(victim["pid"]).send_signal(signal.SIGKILL)
    running.go()
    done = running.end()
    assert done.code == 0, done.said
    again = [e for e in done.events if e["what"] == "task" and e["task"] == victim["task"]]
    assert len(again) == 2 and again[0]["executor"] != again[1]["executor"]
    assert done.scores == local.scores


def test_a_worker_without_memory_costs_its_task_again(score: Score, local: Ran) -> None:
    """One is refused an allocation, one is killed as the kernel's out-of-memory killer does."""
    done = score("memory").end()
    assert done.code == 0, done.said
    failed = [event for event in done.events if event["what"] in ("full", "killed")]
    assert {event["what"] for event in failed} == {"full", "killed"}
    for event in failed:
        again = [e for e in done.events if e["what"] == "task" and e["task"] == event["task"]]
        assert len(again) == 2 and again[1]["executor"] != event["executor"]
    assert done.scores == local.scores


def test_a_gpu_that_fails_at_load_is_left_out(score: Score, local: Ran) -> None:
    done = score("bad-gpu").end()
    assert done.code == 0, done.said
    assert list(done.root.parent.glob("events/tried-*"))  # on b, which never built one
    assert {event["node"] for event in done.events} == {"a"}
    assert done.scores == local.scores


def test_gpus_that_all_fail_stop_the_job_with_one_line(score: Score) -> None:
    done = score("none", "score.device=auto").end()
    assert done.code == 2, done.said
    (line,) = [line for line in done.said.splitlines() if line.startswith("score: GPU ")]
    assert "torch sees no GPU there" in line and "score.device=cpu" in line
    assert "Traceback" not in done.said
    assert done.published == []


def test_a_shape_with_two_gpus_an_executor_is_refused(score: Score) -> None:
    done = score("none", **{"spark.executor.resource.gpu.amount": "2"}).end()
    assert done.code == 2, done.said
    assert "spark.executor.resource.gpu.amount is 2: set it to 1" in done.said
    assert done.published == []


def test_a_node_that_is_called_back_takes_no_new_tasks(
    score: Score, local: Ran, cluster: Cluster
) -> None:
    """A spot interruption: the node hears of it (SIGPWR), hands on what it has, and is gone."""
    running = score("hold")
    held = running.wait_for("task", 3)
    on_b = {event["executor"] for event in held if event["node"] == "b"}
    assert len(on_b) == 2
    cluster.nodes["b"].signal(signal.SIGPWR)
    try:
        running.wait_until_said(cluster.nodes["b"].log, "Decommission")
        running.go()
        done = running.end()
    finally:
        cluster.nodes["b"].process.kill()
        cluster.start("b")
    assert done.code == 0, done.said
    late = [e for e in done.events if e["what"] == "task" and e not in held]
    assert late and {event["node"] for event in late} == {"a"}
    assert done.scores == local.scores
