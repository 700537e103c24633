"""Submitting and following, against moto's EMR and S3. moto's steps never advance: where they must,
a client in front of moto's gives their later states, and everything else is moto's own."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from readmit_spark.config import Config
from readmit_spark.emr import run
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.storage.aws_errors import find_aws_failure
from tests.emr.conftest import code, request


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="ward")
        yield


@pytest.fixture
def emr(aws: None, config: Config) -> Any:
    return run.clients(config)[0]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell starts what is to run in the background with Ctrl-C ignored, and then a test that
    waits for it would wait for ever."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Moving:
    """moto's client whose steps go on by one state at each look. `fate`: each step's states."""

    def __init__(self, emr: Any, *fates: list[str], failure: dict[str, str] | None = None) -> None:
        self._emr, self._fates, self._failure = emr, [list(f) for f in fates], failure or {}
        self._ids: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emr, name)

    def describe_step(self, **asked: str) -> dict[str, Any]:
        found: dict[str, Any] = self._emr.describe_step(**asked)
        step = asked["StepId"]
        if step not in self._ids:
            self._ids.append(step)
        states = self._fates[self._ids.index(step)]
        state = states.pop(0) if len(states) > 1 else states[0]
        found["Step"]["Status"]["State"] = state
        if state == "FAILED":
            found["Step"]["Status"]["FailureDetails"] = self._failure
        return found


class Said:
    def __init__(self) -> None:
        self.out = io.StringIO()
        self.progress = Progress("emr_submit", 2, self.out)

    @property
    def lines(self) -> list[str]:
        return [line.removeprefix("emr_submit: ") for line in self.out.getvalue().splitlines()]


def no_wait(seconds: float) -> None:
    pass


def state(emr: Any, cluster: str) -> str:
    return str(emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"])


def the_cluster(emr: Any) -> str:
    (found,) = emr.list_clusters()["Clusters"]
    return str(found["Id"])


def test_code_goes_where_the_request_says(aws: None, config: Config) -> None:
    _, s3 = run.clients(config)
    run.upload(s3, code(config))
    asked = request(config, "score")
    args = asked["Steps"][0]["HadoopJarStep"]["Args"]
    wanted = {arg for arg in args if arg.startswith("s3://ward/readmit-spark/code")}
    wanted.add(asked["BootstrapActions"][0]["ScriptBootstrapAction"]["Path"])
    there = {f"s3://ward/{item['Key']}" for item in s3.list_objects_v2(Bucket="ward")["Contents"]}
    assert len(wanted) == 4 and wanted <= there
    body = s3.get_object(Bucket="ward", Key=code(config).uri("score.py")[len("s3://ward/") :])
    assert body["Body"].read() == b"score.py"


def test_steps_that_complete_are_followed_to_the_end(emr: Any, config: Config) -> None:
    said = Said()
    moving = Moving(emr, ["PENDING", "RUNNING", "COMPLETED"], ["PENDING", "PENDING", "COMPLETED"])
    with run.running(moving, request(config, "prepare", "score"), said.progress) as submitted:
        assert run.follow(moving, submitted, said.progress, sleep=no_wait)
    for step, states in (
        ("readmit-prepare", ["PENDING", "RUNNING", "COMPLETED"]),
        ("readmit-score", ["PENDING", "COMPLETED"]),  # each said once
    ):
        lines = [line for line in said.lines if line.startswith(f"step {step}")]
        assert [line.split(" is ")[1] for line in lines] == states


def test_a_step_that_fails_is_named_with_its_log(emr: Any, config: Config) -> None:
    said = Said()
    moving = Moving(
        emr, ["RUNNING", "FAILED"], ["PENDING", "CANCELLED"],
        failure={"Reason": "Unknown Error.", "LogFile": "s3://ward/readmit-spark/logs/j/stderr.gz"},
    )  # fmt: skip
    with run.running(moving, request(config, "prepare", "score"), said.progress) as submitted:
        assert not run.follow(moving, submitted, said.progress, sleep=no_wait)
    cluster = the_cluster(emr)
    assert any(
        line.startswith("step readmit-prepare is FAILED, reason: Unknown Error.; its log: "
                        "s3://ward/readmit-spark/logs/j/stderr.gz")
        and f"s3://ward/readmit-spark/logs/{cluster}/containers/" in line
        for line in said.lines
    )  # fmt: skip
    assert any(line.startswith("step readmit-score is CANCELLED") for line in said.lines)


def test_a_failed_step_without_details_still_has_a_log(emr: Any, config: Config) -> None:
    said = Said()
    moving = Moving(emr, ["FAILED"])
    with run.running(moving, request(config, "score"), said.progress) as submitted:
        assert not run.follow(moving, submitted, said.progress, sleep=no_wait)
    step = emr.list_steps(ClusterId=submitted.cluster)["Steps"][0]["Id"]
    log = f"s3://ward/readmit-spark/logs/{submitted.cluster}/steps/{step}/stderr.gz"
    assert any(log in line for line in said.lines)


class Late(Moving):
    """A client that lists no step of a new cluster before the third look."""

    looks = 0

    def get_paginator(self, name: str) -> Any:
        self.looks += 1
        return self if self.looks < 3 else self._emr.get_paginator(name)

    def paginate(self, **asked: str) -> list[dict[str, Any]]:
        return [{"Steps": []}]


def test_steps_that_emr_lists_late_are_waited_for(emr: Any, config: Config) -> None:
    said = Said()
    late = Late(emr, ["FAILED"], ["COMPLETED"])
    with run.running(late, request(config, "prepare", "score"), said.progress) as submitted:
        assert not run.follow(late, submitted, said.progress, sleep=no_wait)
    assert any(line.startswith("step readmit-prepare is FAILED") for line in said.lines)


def test_a_cluster_that_ends_before_it_lists_a_step_is_no_success(emr: Any, config: Config) -> None:
    said = Said()
    late = Late(emr)
    with run.running(late, request(config, "score"), said.progress) as submitted:
        emr.terminate_job_flows(JobFlowIds=[submitted.cluster])
        assert not run.follow(late, submitted, said.progress, sleep=no_wait)
    assert any(f"{submitted.cluster} ended with 0 of 1 steps" in line for line in said.lines)


def test_a_cluster_that_ends_under_its_steps_is_no_success(emr: Any, config: Config) -> None:
    """Bootstrap failed, say: the steps stay PENDING for ever."""
    said = Said()
    with run.running(emr, request(config, "score"), said.progress) as submitted:
        emr.terminate_job_flows(JobFlowIds=[submitted.cluster])
        assert not run.follow(emr, submitted, said.progress, sleep=no_wait)
    assert any(line.startswith("step readmit-score is") for line in said.lines)


def interrupt_then(number: signal.Signals) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        os.kill(os.getpid(), number)

    return sleep


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_cluster_that_was_started(
    emr: Any, config: Config, number: signal.Signals
) -> None:
    said = Said()
    asked = request(config, "score")
    with (
        pytest.raises(KeyboardInterrupt),
        run.running(emr, asked, said.progress) as submitted,
    ):
        assert state(emr, submitted.cluster) not in run._GOING
        run.follow(emr, submitted, said.progress, sleep=interrupt_then(number))
    assert state(emr, submitted.cluster) in run._GOING
    assert any(f"ending cluster {submitted.cluster}" in line for line in said.lines)


def test_an_interrupt_while_the_cluster_is_asked_for_ends_it(emr: Any, config: Config) -> None:
    class Slow(Moving):
        def run_job_flow(self, **asked: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)  # before the id is known
            return self._emr.run_job_flow(**asked)

    with (
        pytest.raises(KeyboardInterrupt),
        run.running(Slow(emr), request(config), Said().progress),
    ):
        raise AssertionError("the block is not entered")
    assert state(emr, the_cluster(emr)) in run._GOING
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_cancels_our_steps_on_a_cluster_of_others(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    cancelled: list[dict[str, Any]] = []

    class Watched(Moving):  # moto has no cancel_steps
        def cancel_steps(self, **asked: Any) -> None:
            cancelled.append(asked)

    asked = request(config, "score", cluster=cluster)
    said = Said()
    with pytest.raises(KeyboardInterrupt), run.running(Watched(emr), asked, said.progress) as ours:
        raise KeyboardInterrupt
    assert cancelled == [
        {"ClusterId": cluster, "StepIds": list(ours.steps),
         "StepCancellationOption": "TERMINATE_PROCESS"}
    ]  # fmt: skip
    assert any("may go on and publish: `yarn application -kill`" in line for line in said.lines)
    assert state(emr, cluster) not in run._GOING


def test_steps_added_to_a_running_cluster(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    submitted = run.begin(emr, request(config, "score", "nightly", cluster=cluster))
    names = {step["Id"]: step["Name"] for step in emr.list_steps(ClusterId=cluster)["Steps"]}
    assert [names[step] for step in submitted.steps] == ["readmit-score", "readmit-nightly"]
    assert (submitted.ours, submitted.logs) == (False, "s3://ward/readmit-spark/logs/")


def test_a_cluster_that_is_gone_or_never_was_takes_no_steps(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    emr.terminate_job_flows(JobFlowIds=[cluster])
    with pytest.raises(UserError, match=f"cluster {cluster} is TERMINATED"):
        run.begin(emr, request(config, cluster=cluster))
    with pytest.raises(ClientError) as nothing:
        run.begin(emr, request(config, cluster="j-nothing"))
    failure = find_aws_failure(nothing.value)
    assert failure and failure.message.startswith("AWS refuses DescribeCluster: Cluster id 'j-not")


@pytest.mark.parametrize("fate", ["COMPLETED", "FAILED"])
def test_terminate_ends_a_running_cluster_however_the_steps_went(
    emr: Any, config: Config, fate: str
) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    _, s3 = run.clients(config)
    asked = request(config, "score", cluster=cluster)
    done = run.submit(Moving(emr, [fate]), s3, asked, code(config), Said().progress, terminate=True)
    assert done == (fate == "COMPLETED")
    assert state(emr, cluster) in run._GOING


def test_a_cluster_that_does_not_end_is_said(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, keep=True))["JobFlowId"]

    class Deaf(Moving):
        def terminate_job_flows(self, **asked: Any) -> None:
            pass

    with pytest.raises(RuntimeError, match=f"cluster {cluster} is .* look at it"):
        run.end_cluster(Deaf(emr), cluster, Said().progress)
