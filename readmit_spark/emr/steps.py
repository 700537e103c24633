"""Build EMR steps: one spark-submit command for each job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from readmit_spark.config import Config, required
from readmit_spark.emr.code import PACKAGE, RUN_CONFIG, Code

# Job: its shape.
SHAPES = {
    "ingest": "prepare",
    "prepare": "prepare",
    "finetune": "score",
    "score": "score",
    "nightly": "score",
}
JOBS_WITH_AS_OF = {"nightly"}

# bash -c STEP_SCRIPT readmit LIMIT TAG spark-submit ...: a step that takes longer than LIMIT fails.
# Ending spark-submit does not end its application, so the script ends all that carry the tag.
STEP_SCRIPT = (
    'timeout -k 60 "$1" "${@:3}"; code=$?; '
    '[ $code != 124 ] || echo "stopped after $1, the limit of emr.max_hours" >&2; '
    "[ $code = 0 ] || yarn application -list -appTags \"$2\" | grep -o 'application_[0-9_]*' "
    "| sort -u | xargs -r -n 1 yarn application -kill; "
    "exit $code"
)


@dataclass(frozen=True)
class RunOrder:
    """Which jobs to run, and where.

    as_of: value of --as-of for the jobs that have it; cluster: id of a running cluster, or None
    for a new one; keep: the new cluster does not end after its EMR steps; submission: tells this
    order from all others.
    """

    jobs: Sequence[str]
    as_of: str
    cluster: str | None = None
    keep: bool = False
    submission: str = field(default_factory=lambda: f"readmit-{secrets.token_hex(8)}")


def build_step(
    config: Config, job: str, order: RunOrder, shape: Mapping[str, str], code: Code
) -> dict[str, Any]:
    """Return an EMR step; if it fails, the cluster ends or, if it stays, cancels later steps."""
    stays = bool(order.cluster) or order.keep
    tag = f"{order.submission}-{job}"
    command = _spark_submit(config, job, code, shape, order.as_of, tag)
    return {
        "Name": f"{config.emr.name}-{job}",
        "ActionOnFailure": "CANCEL_AND_WAIT" if stays else "TERMINATE_CLUSTER",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": [
                "bash", "-c", STEP_SCRIPT, "readmit", f"{config.emr.max_hours}h", tag, *command
            ],
        },
    }  # fmt: skip


def _spark_submit(
    config: Config, job: str, code: Code, shape: Mapping[str, str], as_of: str, tag: str
) -> list[str]:
    region = required(config.emr.region, "emr.region")
    properties = {
        **shape,
        "spark.yarn.tags": tag,
        "spark.yarn.appMasterEnv.TZ": config.emr.time_zone,
        # boto3 does not find the region of an EC2 instance by itself.
        "spark.yarn.appMasterEnv.AWS_DEFAULT_REGION": region,
        "spark.executorEnv.AWS_DEFAULT_REGION": region,
    }
    if SHAPES[job] == "score":
        properties |= _gpu_properties(config.emr.gpu_nodes)
    return [
        "spark-submit",
        "--deploy-mode", "cluster",
        "--name", f"{config.emr.name}-{job}",
        # Single options, because spark-submit reads a properties file only from the local disk.
        *(part for key, value in properties.items() for part in ("--conf", f"{key}={value}")),
        "--py-files", code.uri(PACKAGE),
        "--files", code.uri(RUN_CONFIG),
        code.uri(f"{job}.py"),
        "--config", RUN_CONFIG,
        *(("--as-of", as_of) if job in JOBS_WITH_AS_OF else ()),
    ]  # fmt: skip


def _gpu_properties(gpus: int) -> dict[str, str]:
    """Return what depends on the number of GPU nodes. A single node is never excluded."""
    properties = {
        "spark.executor.instances": str(gpus),
        "spark.default.parallelism": str(gpus),
        "spark.executor.maxNumFailures": str(10 * gpus),
    }
    if gpus == 1:
        properties["spark.excludeOnFailure.enabled"] = "false"
        properties["spark.yarn.executor.launch.excludeOnFailure.enabled"] = "false"
    return properties
