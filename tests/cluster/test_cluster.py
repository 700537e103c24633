"""jobs/score.py on a cluster of two nodes, as on EMR, but without YARN and real GPUs."""

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
def undisturbed(score: Score) -> Ran:
    """A job without faults."""
    done = score().end()
    assert done.code == 0, done.output
    return done


def executor_of(pid: int) -> psutil.Process:
    """Return the Java process of the executor above a Python worker."""
    return next(
        process
        for process in psutil.Process(pid).parents()
        if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())
    )


@pytest.mark.parametrize("package", ["readmit_spark", "pyspark", "py4j"])
def test_the_nodes_python_has_neither_the_clone_nor_spark(cluster: Cluster, package: str) -> None:
    python = subprocess.run(
        [cluster.python, "-c", f"import torch, {package}"],
        capture_output=True, text=True, cwd="/", env={},
    )  # fmt: skip
    assert f"No module named '{package}'" in python.stderr


def test_scores_equal_those_of_local_mode_bit_for_bit(undisturbed: Ran, local: Ran) -> None:
    assert len(undisturbed.scores["patient_scores"]) == 120
    assert len({row["probability"] for row in undisturbed.scores["chunk_scores"]}) > 500
    assert undisturbed.scores == local.scores
    assert {event["node"] for event in local.events} == {"local"}


def test_the_package_is_imported_from_the_shipped_zip(undisturbed: Ran) -> None:
    for event in undisturbed.events:
        if event["what"] == "built":
            assert "readmit_spark.zip/readmit_spark/__init__.py" in event["package"]
            assert not event["package"].startswith(str(ROOT))


def test_each_task_has_a_gpu_and_each_gpu_one_model(undisturbed: Ran) -> None:
    built = [event for event in undisturbed.events if event["what"] == "built"]
    gpus = [(event["node"], event["gpu"]) for event in built]
    assert sorted(gpus) == sorted((node, gpu) for node, own in NODES.items() for gpu in own)
    # A worker process serves its executor's tasks one after another, with the model it has.
    tasks = [event for event in undisturbed.events if event["what"] == "task"]
    where = {event["pid"]: (event["node"], event["gpu"]) for event in built}
    assert len(tasks) > len(built)
    assert all(where[task["pid"]] == (task["node"], task["gpu"]) for task in tasks)


def test_torch_sees_the_tasks_gpu_alone_from_the_start(undisturbed: Ran) -> None:
    built = [event for event in undisturbed.events if event["what"] == "built"]
    assert all(event["cuda"] == event["gpu"] for event in built)
    # One worker may be that of the probe, which imported torch before the import hook was set.
    first = [event for event in built if event["torch_saw"] != "imported before"]
    assert len(first) >= len(built) - 1
    assert all(event["torch_saw"] == event["gpu"] for event in first)


def test_the_model_reaches_each_executor_once(undisturbed: Ran, tiny_model: str) -> None:
    built = [event for event in undisturbed.events if event["what"] == "built"]
    for event in built:
        folder = Path(event["model"])
        assert event["executor"] in folder.parts and event["node"] in folder.parts
        assert str(folder) != tiny_model


# --- faults ---------------------------------------------------------------------------------------


def test_tasks_of_a_killed_executor_run_again(score: Score, local: Ran) -> None:
    running = score("hold")
    held = running.wait_for("task", 3)  # a task on each GPU, none of them done
    victim = held[0]
    executor_of(victim["pid"]).send_signal(signal.SIGKILL)
    running.go()
    done = running.end()
    assert done.code == 0, done.output
    again = [e for e in done.events if e["what"] == "task" and e["task"] == victim["task"]]
    assert len(again) == 2 and again[0]["executor"] != again[1]["executor"]
    assert done.scores == local.scores


def test_tasks_of_workers_without_memory_run_again(score: Score, local: Ran) -> None:
    """One worker cannot allocate memory, another is killed as by the out-of-memory killer."""
    done = score("memory").end()
    assert done.code == 0, done.output
    failed = [event for event in done.events if event["what"] in ("full", "killed")]
    assert {event["what"] for event in failed} == {"full", "killed"}
    for event in failed:
        again = [e for e in done.events if e["what"] == "task" and e["task"] == event["task"]]
        assert len(again) == 2 and again[1]["executor"] != event["executor"]
    assert done.scores == local.scores


def test_a_gpu_that_fails_to_load_the_model_is_not_used(score: Score, local: Ran) -> None:
    done = score("bad-gpu").end()
    assert done.code == 0, done.output
    assert list(done.root.parent.glob("events/tried-*"))  # node b tried, and built no scorer
    assert {event["node"] for event in done.events} == {"a"}
    assert done.scores == local.scores


def test_gpus_that_all_fail_stop_the_job_with_one_line(score: Score) -> None:
    done = score("none", "score.device=auto").end()
    assert done.code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("score: GPU ")]
    assert "torch sees no GPU there" in line and "score.device=cpu" in line
    assert "Traceback" not in done.output
    assert done.published == []


def test_a_shape_with_two_gpus_an_executor_is_refused(score: Score) -> None:
    done = score("none", **{"spark.executor.resource.gpu.amount": "2"}).end()
    assert done.code == 2, done.output
    assert "spark.executor.resource.gpu.amount is 2: set it to 1" in done.output
    assert done.published == []


def test_a_node_that_is_interrupted_takes_no_new_tasks(
    score: Score, local: Ran, cluster: Cluster
) -> None:
    """A spot interruption: the node gets SIGPWR, moves its blocks to other nodes, and ends."""
    running = score("hold")
    held = running.wait_for("task", 3)
    on_b = {event["executor"] for event in held if event["node"] == "b"}
    assert len(on_b) == 2
    cluster.nodes["b"].signal(signal.SIGPWR)
    try:
        running.wait_for_text(cluster.nodes["b"].log, "Decommission")
        running.go()
        done = running.end()
    finally:
        cluster.nodes["b"].process.kill()
        cluster.start("b")
    assert done.code == 0, done.output
    late = [e for e in done.events if e["what"] == "task" and e not in held]
    assert late and {event["node"] for event in late} == {"a"}
    assert done.scores == local.scores
