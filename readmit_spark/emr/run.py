"""Submitting to EMR, following the steps, and leaving nothing running that nobody asked for."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from readmit_spark.config import Config, required
from readmit_spark.emr.code import Code
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress

_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GOING = {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}


def clients(config: Config) -> tuple[Any, Any]:
    """boto3's EMR and S3 clients, which try again when throttled or cut off."""
    import boto3
    from botocore.config import Config as ClientConfig

    region = required(config.emr.region, "emr.region")
    patient = ClientConfig(retries={"mode": "standard", "max_attempts": 10})
    return tuple(boto3.client(name, region_name=region, config=patient) for name in ("emr", "s3"))


def upload(s3: Any, code: Code) -> None:
    """Puts the code where the request says it is."""
    where = urlsplit(code.folder)
    for name, content in code.files.items():
        s3.put_object(Bucket=where.netloc, Key=f"{where.path.lstrip('/')}/{name}", Body=content)


def submit(
    emr: Any, s3: Any, request: Mapping[str, Any], code: Code, progress: Progress, terminate: bool
) -> bool:
    """Uploads, sends the request, follows the steps; True where all completed.

    terminate: the running cluster that took the steps ends afterwards, however they went.
    """
    with progress.stage(f"code to {code.folder}"):
        upload(s3, code)
    try:
        with progress.stage("steps"), running(emr, request, progress) as submitted:
            return follow(emr, submitted, progress)
    finally:
        if terminate:
            end_cluster(emr, request["JobFlowId"], progress)


@dataclass(frozen=True)
class Submitted:
    """Steps on a cluster; `ours`: this process started the cluster with them, and answers for it.

    steps: ids in order; empty for a cluster's own first ones, which EMR names later. asked: how
    many there are to be.
    """

    cluster: str
    steps: tuple[str, ...]
    asked: int
    ours: bool
    logs: str


def begin(emr: Any, request: Mapping[str, Any]) -> Submitted:
    """Sends RunJobFlow's or AddJobFlowSteps' request. UserError where a cluster takes no steps."""
    asked = len(request["Steps"])
    if "JobFlowId" not in request:
        cluster = emr.run_job_flow(**request)["JobFlowId"]
        return Submitted(cluster, (), asked, ours=True, logs=request["LogUri"])
    cluster = request["JobFlowId"]
    found = _cluster(emr, cluster)
    if found["Status"]["State"] in _GOING:
        raise UserError(f"cluster {cluster} is {found['Status']['State']}: it takes no more steps")
    ids = emr.add_job_flow_steps(**request)["StepIds"]
    return Submitted(cluster, tuple(ids), asked, ours=False, logs=found.get("LogUri", ""))


def follow(
    emr: Any,
    submitted: Submitted,
    progress: Progress,
    seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Waits for the steps, saying each change of state; True where all completed.

    A step that failed is named with EMR's reason and the place of its log. What the log says is not
    fetched: a trace may hold what a terminal should not.
    """
    said: dict[str, str] = {}
    ids = submitted.steps
    while True:
        found = _cluster(emr, submitted.cluster)
        state = found["Status"]["State"]
        if len(ids) < submitted.asked:  # EMR may list a new cluster's steps a little later
            ids = _steps_of(emr, submitted.cluster)[: submitted.asked]
        states = [emr.describe_step(ClusterId=submitted.cluster, StepId=step)["Step"]
                  for step in ids]  # fmt: skip
        now = {submitted.cluster: f"cluster {submitted.cluster} is {state}"}
        now |= {s["Id"]: f"step {s['Name']} ({s['Id']}) is {s['Status']['State']}" for s in states}
        for key, line in now.items():
            if said.get(key) != line:
                progress.say(line)
        said = now
        known = len(states) == submitted.asked
        if known and all(step["Status"]["State"] in _ENDED for step in states):
            break
        if state in _GOING - {"TERMINATING"}:
            break
        sleep(seconds)
    failed = [step for step in states if step["Status"]["State"] != "COMPLETED"]
    for step in failed:
        progress.say(_verdict(step, submitted, found))
    if not known:
        progress.say(
            f"cluster {submitted.cluster} ended with {len(states)} of {submitted.asked} steps, "
            f"reason: {_reason(found) or 'not given'}"
        )
    return known and not failed


def _verdict(step: Mapping[str, Any], submitted: Submitted, cluster: Mapping[str, Any]) -> str:
    details = step["Status"].get("FailureDetails", {})
    reason = details.get("Reason") or details.get("Message") or _reason(step) or _reason(cluster)
    folder = f"{submitted.logs.rstrip('/')}/{submitted.cluster}"
    log = details.get("LogFile") or f"{folder}/steps/{step['Id']}/stderr.gz"
    return (
        f"step {step['Name']} is {step['Status']['State']}, reason: {reason or 'not given'}; "
        f"its log: {log}, the job's own lines: {folder}/containers/"
    )


def _reason(of: Mapping[str, Any]) -> str | None:
    """EMR's, for the state of a step or cluster."""
    reason: str | None = of["Status"].get("StateChangeReason", {}).get("Message")
    return reason


def end_cluster(emr: Any, cluster: str, progress: Progress) -> None:
    """Ends the cluster and makes sure that it is ending. A RuntimeError where it is not."""
    emr.terminate_job_flows(JobFlowIds=[cluster])
    state = _cluster(emr, cluster)["Status"]["State"]
    if state not in _GOING:
        raise RuntimeError(f"cluster {cluster} is {state} after it was told to end: look at it")
    progress.say(f"cluster {cluster} is {state}")


@contextmanager
def running(emr: Any, request: Mapping[str, Any], progress: Progress) -> Iterator[Submitted]:
    """`begin`, and whatever ends the block early leaves nothing running by accident.

    Ctrl-C or a SIGTERM: a cluster of ours ends; on another's our steps are cancelled, which ends
    spark-submit and not a driver that YARN has started. Both wait while `begin` runs: nobody could
    end a cluster whose id is not known yet.
    """
    submitted = None
    try:
        with _held_interrupts():
            submitted = begin(emr, request)
        with _sigterm_interrupts():
            yield submitted
    except KeyboardInterrupt:
        if submitted:
            with _held_interrupts():
                _clear_up(emr, submitted, progress)
        raise
    except Exception:
        if submitted:
            progress.say(f"{submitted.cluster} goes on without being followed")
        raise


def _clear_up(emr: Any, submitted: Submitted, progress: Progress) -> None:
    if submitted.ours:
        progress.say(f"interrupted: ending cluster {submitted.cluster}")
        end_cluster(emr, submitted.cluster, progress)
        return
    progress.say(
        f"interrupted: cancelling the steps; cluster {submitted.cluster} stays, and a driver that "
        "runs on one of its nodes by now may go on and publish: `yarn application -kill` ends it"
    )
    emr.cancel_steps(
        ClusterId=submitted.cluster,
        StepIds=list(submitted.steps),
        StepCancellationOption="TERMINATE_PROCESS",
    )


@contextmanager
def _held_interrupts() -> Iterator[None]:
    """Signals that would end the program wait, and are a KeyboardInterrupt at the end."""
    arrived: list[int] = []
    with _handlers({n: lambda number, frame: arrived.append(number) for n in _SIGNALS}):
        yield
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with _handlers({signal.SIGTERM: interrupt}):
        yield


@contextmanager
def _handlers(handlers: Mapping[signal.Signals, Callable[[int, Any], object]]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cluster(emr: Any, cluster: str) -> dict[str, Any]:
    found: dict[str, Any] = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    return found


def _steps_of(emr: Any, cluster: str) -> tuple[str, ...]:
    """In the order they were asked for: EMR lists the last one first."""
    pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster)
    return tuple(step["Id"] for page in pages for step in page["Steps"])[::-1]
