"""Submit EMR steps, follow them, and leave no cluster running by accident."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from readmit_spark.config import Config, required
from readmit_spark.emr.code import Code
from readmit_spark.emr.send import ENDING, Submitted, describe, list_steps, send
from readmit_spark.progress import Progress

_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Clients(NamedTuple):
    """boto3's clients. `emr` and `s3` repeat calls that failed; `once`, also of EMR, never does."""

    emr: Any
    s3: Any
    once: Any


def clients(config: Config) -> Clients:
    """Return the clients for the region of the configuration."""
    import boto3
    from botocore.config import Config as ClientConfig

    region = required(config.emr.region, "emr.region")

    def client(name: str, attempts: int) -> Any:
        retries = {"mode": "standard", "total_max_attempts": attempts}
        return boto3.client(name, region_name=region, config=ClientConfig(retries=retries))

    return Clients(client("emr", 10), client("s3", 10), client("emr", 1))


def upload(s3: Any, code: Code) -> None:
    """Upload the code to its folder on S3."""
    folder = urlsplit(code.folder)
    for name, content in code.files.items():
        s3.put_object(Bucket=folder.netloc, Key=f"{folder.path.lstrip('/')}/{name}", Body=content)


def submit(
    aws: Clients, request: Mapping[str, Any], code: Code, progress: Progress, terminate: bool
) -> bool:
    """Upload the code, send the request and follow the EMR steps; return True if all completed.

    terminate: end the running cluster afterwards, also if an EMR step failed.
    """
    with progress.stage(f"code to {code.folder}"):
        upload(aws.s3, code)
    try:
        with progress.stage("EMR steps"), running(aws, request, progress) as submitted:
            return follow(aws.emr, submitted, progress)
    finally:
        if terminate:
            end_cluster(aws.emr, request["JobFlowId"], progress)


def follow(
    emr: Any,
    submitted: Submitted,
    progress: Progress,
    seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until the EMR steps end and print each change of state; return True if all completed.

    A failed step is printed with EMR's reason and the path of its log. The log itself is not
    printed, because a stack trace may contain note text.
    """
    printed: dict[str, str] = {}
    ids = submitted.steps
    while True:
        cluster = describe(emr, submitted.cluster)
        state = cluster["Status"]["State"]
        if len(ids) < submitted.count:  # EMR may list a new cluster's steps a little later
            ids = list_steps(emr, submitted.cluster)[: submitted.count]
        steps = [emr.describe_step(ClusterId=submitted.cluster, StepId=step)["Step"]
                 for step in ids]  # fmt: skip
        printed = _print_changes(printed, submitted.cluster, state, steps, progress)
        complete = len(steps) == submitted.count
        if complete and all(step["Status"]["State"] in _ENDED for step in steps):
            break
        if state in ENDING - {"TERMINATING"}:
            break
        sleep(seconds)
    failed = [step for step in steps if step["Status"]["State"] != "COMPLETED"]
    for step in failed:
        progress.say(_failure_line(step, submitted, cluster))
    if not complete:
        progress.say(
            f"cluster {submitted.cluster} ended with {len(steps)} of {submitted.count} EMR steps, "
            f"reason: {_reason(cluster) or 'not given'}"
        )
    return complete and not failed


def _print_changes(
    printed: Mapping[str, str],
    cluster: str,
    state: str,
    steps: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> dict[str, str]:
    """Print the states that differ from `printed`; return the current line of each id."""
    lines = {cluster: f"cluster {cluster} is {state}"}
    for step in steps:
        name, step_state = step["Name"], step["Status"]["State"]
        lines[step["Id"]] = f"EMR step {name} ({step['Id']}) is {step_state}"
    for key, line in lines.items():
        if printed.get(key) != line:
            progress.say(line)
    return lines


def _failure_line(step: Mapping[str, Any], submitted: Submitted, cluster: Mapping[str, Any]) -> str:
    details = step["Status"].get("FailureDetails", {})
    reason = details.get("Reason") or details.get("Message") or _reason(step) or _reason(cluster)
    folder = f"{submitted.logs.rstrip('/')}/{submitted.cluster}"
    log = details.get("LogFile") or f"{folder}/steps/{step['Id']}/stderr.gz"
    return (
        f"EMR step {step['Name']} is {step['Status']['State']}, reason: {reason or 'not given'}; "
        f"its log: {log}, output of the job: {folder}/containers/"
    )


def _reason(item: Mapping[str, Any]) -> str | None:
    """Return EMR's reason for the state of a step or cluster."""
    reason: str | None = item["Status"].get("StateChangeReason", {}).get("Message")
    return reason


def end_cluster(emr: Any, cluster: str, progress: Progress) -> None:
    """End the cluster; raise a RuntimeError if it does not start to end."""
    emr.terminate_job_flows(JobFlowIds=[cluster])
    state = describe(emr, cluster)["Status"]["State"]
    if state not in ENDING:
        raise RuntimeError(
            f"cluster {cluster} is still {state} after the request to end; check it in the console"
        )
    progress.say(f"cluster {cluster} is {state}")


@contextmanager
def running(aws: Clients, request: Mapping[str, Any], progress: Progress) -> Iterator[Submitted]:
    """Send the request; clean up if Ctrl-C or SIGTERM ends the block.

    A cluster that we started is ended. On another cluster our EMR steps are cancelled, which ends
    spark-submit but not a driver that YARN has started. Signals are delayed while the request is
    sent, because a cluster cannot be ended before its id is known.
    """
    submitted = None
    try:
        with _delayed_signals():
            submitted = send(aws.emr, aws.once, request, progress.say)
        with _sigterm_as_interrupt():
            yield submitted
    except KeyboardInterrupt:
        if submitted:
            with _delayed_signals():
                _clean_up(aws.emr, submitted, progress)
        raise
    except Exception:
        if submitted:
            progress.say(f"cluster {submitted.cluster} continues, but is no longer followed")
        raise


def _clean_up(emr: Any, submitted: Submitted, progress: Progress) -> None:
    if submitted.ours:
        progress.say(f"interrupted: ending cluster {submitted.cluster}")
        end_cluster(emr, submitted.cluster, progress)
        return
    progress.say(
        f"interrupted: cancelling the EMR steps; cluster {submitted.cluster} stays, and a driver "
        "that already runs on its nodes may continue and publish: `yarn application -kill` ends it"
    )
    emr.cancel_steps(
        ClusterId=submitted.cluster,
        StepIds=list(submitted.steps),
        StepCancellationOption="TERMINATE_PROCESS",
    )


@contextmanager
def _delayed_signals() -> Iterator[None]:
    """Delay SIGINT and SIGTERM; raise a KeyboardInterrupt at the end if one arrived."""
    arrived: list[int] = []
    with _handlers({n: lambda number, frame: arrived.append(number) for n in _SIGNALS}):
        yield
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
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
