"""Submitting and following EMR steps with moto's EMR and S3.

In moto the state of a step never changes. Tests that need later states use a client that wraps
moto's and replaces the state.
"""

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
from readmit_spark.emr.run import Clients
from readmit_spark.emr.send import ENDING, send
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
    return run.clients(config).emr


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Enable Ctrl-C, which a shell disables for background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class ChangingStates:
    """moto's client, with states that each step has in successive calls of describe_step."""

    def __init__(self, emr: Any, *states: list[str], failure: dict[str, str] | None = None) -> None:
        self._emr, self._failure = emr, failure or {}
        self._states = [list(states_of_step) for states_of_step in states]
        self._ids: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emr, name)

    def describe_step(self, **arguments: str) -> dict[str, Any]:
        response: dict[str, Any] = self._emr.describe_step(**arguments)
        step = arguments["StepId"]
        if step not in self._ids:
            self._ids.append(step)
        states = self._states[self._ids.index(step)]
        state = states.pop(0) if len(states) > 1 else states[0]
        response["Step"]["Status"]["State"] = state
        if state == "FAILED":
            response["Step"]["Status"]["FailureDetails"] = self._failure
        return response


class Output:
    """Progress whose printed lines can be read."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.progress = Progress("emr_submit", 2, self.out)

    @property
    def lines(self) -> list[str]:
        return [line.removeprefix("emr_submit: ") for line in self.out.getvalue().splitlines()]


def only(emr: Any) -> Clients:
    """Return this client of EMR for all calls."""
    return Clients(emr, None, emr)


def no_wait(seconds: float) -> None:
    pass


def state(emr: Any, cluster: str) -> str:
    return str(emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"])


def the_cluster(emr: Any) -> str:
    (cluster,) = emr.list_clusters()["Clusters"]
    return str(cluster["Id"])


def test_the_code_is_uploaded_to_the_uris_of_the_request(aws: None, config: Config) -> None:
    s3 = run.clients(config).s3
    run.upload(s3, code(config))
    built = request(config, "score")
    args = built["Steps"][0]["HadoopJarStep"]["Args"]
    needed = {arg for arg in args if arg.startswith("s3://ward/readmit-spark/code")}
    needed.add(built["BootstrapActions"][0]["ScriptBootstrapAction"]["Path"])
    uploaded = {
        f"s3://ward/{item['Key']}" for item in s3.list_objects_v2(Bucket="ward")["Contents"]
    }
    assert len(needed) == 4 and needed <= uploaded
    body = s3.get_object(Bucket="ward", Key=code(config).uri("score.py")[len("s3://ward/") :])
    assert body["Body"].read() == b"score.py"


def test_steps_are_followed_until_all_complete(emr: Any, config: Config) -> None:
    output = Output()
    changing = ChangingStates(
        emr, ["PENDING", "RUNNING", "COMPLETED"], ["PENDING", "PENDING", "COMPLETED"]
    )
    with run.running(
        only(changing), request(config, "prepare", "score"), output.progress
    ) as submitted:
        assert run.follow(changing, submitted, output.progress, sleep=no_wait)
    for step, states in (
        ("readmit-prepare", ["PENDING", "RUNNING", "COMPLETED"]),
        ("readmit-score", ["PENDING", "COMPLETED"]),  # each printed once
    ):
        lines = [line for line in output.lines if line.startswith(f"EMR step {step}")]
        assert [line.split(" is ")[1] for line in lines] == states


def test_a_failed_step_is_printed_with_its_log(emr: Any, config: Config) -> None:
    output = Output()
    changing = ChangingStates(
        emr, ["RUNNING", "FAILED"], ["PENDING", "CANCELLED"],
        failure={"Reason": "Unknown Error.", "LogFile": "s3://ward/readmit-spark/logs/j/stderr.gz"},
    )  # fmt: skip
    with run.running(
        only(changing), request(config, "prepare", "score"), output.progress
    ) as submitted:
        assert not run.follow(changing, submitted, output.progress, sleep=no_wait)
    cluster = the_cluster(emr)
    assert any(
        line.startswith("EMR step readmit-prepare is FAILED, reason: Unknown Error.; its log: "
                        "s3://ward/readmit-spark/logs/j/stderr.gz")
        and f"s3://ward/readmit-spark/logs/{cluster}/containers/" in line
        for line in output.lines
    )  # fmt: skip
    assert any(line.startswith("EMR step readmit-score is CANCELLED") for line in output.lines)


def test_a_failed_step_without_details_still_has_a_log(emr: Any, config: Config) -> None:
    output = Output()
    changing = ChangingStates(emr, ["FAILED"])
    with run.running(only(changing), request(config, "score"), output.progress) as submitted:
        assert not run.follow(changing, submitted, output.progress, sleep=no_wait)
    step = emr.list_steps(ClusterId=submitted.cluster)["Steps"][0]["Id"]
    log = f"s3://ward/readmit-spark/logs/{submitted.cluster}/steps/{step}/stderr.gz"
    assert any(log in line for line in output.lines)


class LateSteps(ChangingStates):
    """A client that lists the steps of a new cluster only at the third call."""

    calls = 0

    def get_paginator(self, name: str) -> Any:
        self.calls += 1
        return self if self.calls < 3 else self._emr.get_paginator(name)

    def paginate(self, **arguments: str) -> list[dict[str, Any]]:
        return [{"Steps": []}]


def test_steps_that_emr_lists_late_are_followed(emr: Any, config: Config) -> None:
    output = Output()
    client = LateSteps(emr, ["FAILED"], ["COMPLETED"])
    with run.running(
        only(client), request(config, "prepare", "score"), output.progress
    ) as submitted:
        assert not run.follow(client, submitted, output.progress, sleep=no_wait)
    assert any(line.startswith("EMR step readmit-prepare is FAILED") for line in output.lines)


def test_a_cluster_that_ends_without_steps_is_a_failure(emr: Any, config: Config) -> None:
    output = Output()
    client = LateSteps(emr)
    with run.running(only(client), request(config, "score"), output.progress) as submitted:
        emr.terminate_job_flows(JobFlowIds=[submitted.cluster])
        assert not run.follow(client, submitted, output.progress, sleep=no_wait)
    assert any(f"{submitted.cluster} ended with 0 of 1 EMR steps" in line for line in output.lines)


def test_a_cluster_that_ends_before_its_steps_is_a_failure(emr: Any, config: Config) -> None:
    """For example after a failed bootstrap: the steps stay PENDING."""
    output = Output()
    with run.running(only(emr), request(config, "score"), output.progress) as submitted:
        emr.terminate_job_flows(JobFlowIds=[submitted.cluster])
        assert not run.follow(emr, submitted, output.progress, sleep=no_wait)
    assert any(line.startswith("EMR step readmit-score is") for line in output.lines)


def send_signal(number: signal.Signals) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        os.kill(os.getpid(), number)

    return sleep


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_our_cluster(emr: Any, config: Config, number: signal.Signals) -> None:
    output = Output()
    built = request(config, "score")
    with (
        pytest.raises(KeyboardInterrupt),
        run.running(only(emr), built, output.progress) as submitted,
    ):
        assert state(emr, submitted.cluster) not in ENDING
        run.follow(emr, submitted, output.progress, sleep=send_signal(number))
    assert state(emr, submitted.cluster) in ENDING
    assert any(f"ending cluster {submitted.cluster}" in line for line in output.lines)


def test_an_interrupt_while_the_cluster_is_requested_ends_it(emr: Any, config: Config) -> None:
    class InterruptedRequest(ChangingStates):
        def run_job_flow(self, **arguments: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)  # before the id is known
            return self._emr.run_job_flow(**arguments)

    with (
        pytest.raises(KeyboardInterrupt),
        run.running(only(InterruptedRequest(emr)), request(config), Output().progress),
    ):
        raise AssertionError("the block is not entered")
    assert state(emr, the_cluster(emr)) in ENDING
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_cancels_our_steps_on_another_cluster(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    cancelled: list[dict[str, Any]] = []

    class RecordedCancel(ChangingStates):  # moto has no cancel_steps
        def cancel_steps(self, **arguments: Any) -> None:
            cancelled.append(arguments)

    built = request(config, "score", cluster=cluster)
    output = Output()
    with (
        pytest.raises(KeyboardInterrupt),
        run.running(only(RecordedCancel(emr)), built, output.progress) as ours,
    ):
        raise KeyboardInterrupt
    assert cancelled == [
        {"ClusterId": cluster, "StepIds": list(ours.steps),
         "StepCancellationOption": "TERMINATE_PROCESS"}
    ]  # fmt: skip
    assert any(
        "may continue and publish: `yarn application -kill`" in line for line in output.lines
    )
    assert state(emr, cluster) not in ENDING


def test_steps_added_to_a_running_cluster(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    submitted = send(emr, emr, request(config, "score", "nightly", cluster=cluster), print)
    names = {step["Id"]: step["Name"] for step in emr.list_steps(ClusterId=cluster)["Steps"]}
    assert [names[step] for step in submitted.steps] == ["readmit-score", "readmit-nightly"]
    assert (submitted.ours, submitted.logs) == (False, "s3://ward/readmit-spark/logs/")


def test_an_ended_or_unknown_cluster_is_an_error(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    emr.terminate_job_flows(JobFlowIds=[cluster])
    with pytest.raises(UserError, match=f"cluster {cluster} is TERMINATED"):
        send(emr, emr, request(config, cluster=cluster), print)
    with pytest.raises(ClientError) as error:
        send(emr, emr, request(config, cluster="j-NOTHING"), print)
    failure = find_aws_failure(error.value)
    assert failure and failure.message.startswith("AWS refuses DescribeCluster: Cluster id 'j-NOT")


@pytest.mark.parametrize("state_of_step", ["COMPLETED", "FAILED"])
def test_terminate_ends_a_running_cluster_also_after_a_failure(
    emr: Any, config: Config, state_of_step: str
) -> None:
    cluster = emr.run_job_flow(**request(config, "prepare", keep=True))["JobFlowId"]
    s3 = run.clients(config).s3
    built = request(config, "score", cluster=cluster)
    done = run.submit(
        Clients(ChangingStates(emr, [state_of_step]), s3, emr),
        built,
        code(config),
        Output().progress,
        terminate=True,
    )
    assert done == (state_of_step == "COMPLETED")
    assert state(emr, cluster) in ENDING


def test_a_cluster_that_does_not_end_is_an_error(emr: Any, config: Config) -> None:
    cluster = emr.run_job_flow(**request(config, keep=True))["JobFlowId"]

    class IgnoredTermination(ChangingStates):
        def terminate_job_flows(self, **arguments: Any) -> None:
            pass

    with pytest.raises(
        RuntimeError, match=f"cluster {cluster} is still .* check it in the console"
    ):
        run.end_cluster(IgnoredTermination(emr), cluster, Output().progress)
