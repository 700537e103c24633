"""Send requests that must not be sent twice.

RunJobFlow and AddJobFlowSteps have no token that would make a repetition harmless: a request that
is sent again because its answer was lost starts a second cluster, which nobody follows. So they are
sent once. If the answer is lost, the cluster or its EMR steps are looked for by the request's
submission.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from readmit_spark.emr.request import SUBMISSION, submission
from readmit_spark.errors import UserError

ENDING = {"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"}
_LIVING = ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"]
_LOOKS, _SECONDS_BETWEEN_LOOKS = 6, 10.0  # EMR lists a new cluster a little later


@dataclass(frozen=True)
class Submitted:
    """EMR steps on a cluster.

    steps: ids in order; empty for the first steps of a new cluster, whose ids EMR lists later;
    count: number of submitted steps; ours: this process started the cluster and must end it.
    """

    cluster: str
    steps: tuple[str, ...]
    count: int
    ours: bool
    logs: str


def send(
    emr: Any,
    once: Any,
    request: Mapping[str, Any],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Submitted:
    """Send a RunJobFlow or AddJobFlowSteps request.

    emr: client that may repeat its calls; once: client that never does. Raise a UserError if the
    cluster is ending, or if the answer was lost and no trace of the request is found.
    """
    count = len(request["Steps"])
    if "JobFlowId" not in request:
        cluster = _answer(
            lambda: once.run_job_flow(**request)["JobFlowId"],
            lambda: _find_cluster(emr, request["Name"], submission(request)),
            f"a cluster with the tag {SUBMISSION}={submission(request)}", say, sleep,
        )  # fmt: skip
        return Submitted(cluster, (), count, ours=True, logs=request["LogUri"])
    cluster = request["JobFlowId"]
    description = describe(emr, cluster)
    state = description["Status"]["State"]
    if state in ENDING:
        raise UserError(f"cluster {cluster} is {state}: it accepts no more EMR steps")
    ids = _answer(
        lambda: once.add_job_flow_steps(**request)["StepIds"],
        lambda: _find_steps(emr, cluster, submission(request)),
        f"EMR steps of cluster {cluster} with the YARN tag {submission(request)}", say, sleep,
    )  # fmt: skip
    return Submitted(cluster, tuple(ids), count, ours=False, logs=description.get("LogUri", ""))


def describe(emr: Any, cluster: str) -> dict[str, Any]:
    description: dict[str, Any] = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    return description


def list_steps(emr: Any, cluster: str, having: str = "") -> tuple[str, ...]:
    """Return the ids in order of submission, of steps with `having` in an argument.

    EMR lists the last one first.
    """
    pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster)
    return tuple(
        step["Id"]
        for page in pages
        for step in page["Steps"]
        if any(having in argument for argument in step["Config"]["Args"])
    )[::-1]


def _answer(
    call: Callable[[], Any],
    find: Callable[[], Any],
    what: str,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> Any:
    """Return the result of `call`, or what `find` finds if the answer was lost."""
    try:
        return call()
    except Exception as error:
        if not _may_have_arrived(error):
            raise
        say(f"the answer of AWS was lost ({type(error).__name__}); looking for {what}")
    for look in range(_LOOKS):
        if look:
            sleep(_SECONDS_BETWEEN_LOOKS)
        found = find()
        if found:
            say("found: the request had arrived")
            return found
    raise UserError(
        f"the answer of AWS was lost, and {what} is not listed; nothing was sent again: look in "
        "the EMR console in a few minutes before you run the command again"
    )


def _may_have_arrived(error: Exception) -> bool:
    """Return whether AWS may have carried out the request: no answer, or a fault on its side."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.ClientError):
        return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0)) >= 500
    if isinstance(error, (boto.ConnectTimeoutError, boto.EndpointConnectionError)):
        return False
    return isinstance(error, (boto.HTTPClientError, ResponseParserError))


def _find_cluster(emr: Any, name: str, tag: str) -> str | None:
    pages = emr.get_paginator("list_clusters").paginate(ClusterStates=_LIVING)
    for page in pages:
        for cluster in page["Clusters"]:
            if cluster["Name"] != name:
                continue
            tags = describe(emr, cluster["Id"]).get("Tags", [])
            if {"Key": SUBMISSION, "Value": tag} in tags:
                return str(cluster["Id"])
    return None


def _find_steps(emr: Any, cluster: str, tag: str) -> tuple[str, ...]:
    return list_steps(emr, cluster, f"spark.yarn.tags={tag}-")
