"""The requests to EMR, as plain values: nothing here calls AWS.

conf/emr_cluster.json is the part of RunJobFlow that is the same for everybody (machines, YARN);
the `emr` section of the configuration is the part that is an account's; conf/spark-emr-*.conf are
the shapes that the steps run in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from readmit_spark.config import Config, required
from readmit_spark.emr.code import BOOTSTRAP, PACKAGE, RUN_CONFIG, Code
from readmit_spark.emr.validate import validate
from readmit_spark.errors import UserError

# job -> its shape: conf/spark-emr-SHAPE.conf
SHAPES = {
    "ingest": "prepare",
    "prepare": "prepare",
    "finetune": "score",
    "score": "score",
    "nightly": "score",
}
TAKES_TIME = {"nightly"}  # jobs with --as-of

# Names are in bills, consoles and log paths. What cannot hold a sentence cannot hold a note.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_template(path: Path) -> dict[str, Any]:
    """conf/emr_cluster.json without its comments (the "//" keys)."""
    try:
        template = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run jobs/emr_submit.py from the clone") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON at line {error.lineno}") from None
    cleaned: dict[str, Any] = _without_comments(template)
    return cleaned


def read_shapes(folder: Path) -> dict[str, dict[str, str]]:
    """The properties of each shape, from conf/spark-emr-SHAPE.conf in `folder`."""
    return {shape: read_shape(folder / f"spark-emr-{shape}.conf") for shape in SHAPES.values()}


def read_shape(path: Path) -> dict[str, str]:
    """A Spark properties file as {key: value}; `#` begins a comment line."""
    properties = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, *value = line.split(maxsplit=1)
        if not value:
            raise UserError(f"{path} line {number}: {key} has no value")
        properties[key] = value[0].strip()
    return properties


@dataclass(frozen=True)
class Order:
    """What is to run. as_of: of the jobs that take a time, as they take it; cluster: a running one,
    or None for a new one; keep: the new one stays after its steps."""

    jobs: Sequence[str]
    as_of: str
    cluster: str | None = None
    keep: bool = False


def build(
    config: Config,
    order: Order,
    template: Mapping[str, Any],
    shapes: Mapping[str, Mapping[str, str]],
    code: Code,
) -> dict[str, Any]:
    """RunJobFlow's request, or with `order.cluster` AddJobFlowSteps'. A UserError for what would
    fail only on the cluster, or what EMR would refuse."""
    _check_run(config, order.jobs)
    steps = [_step(config, job, order, shapes[SHAPES[job]], code) for job in order.jobs]
    if order.cluster:
        request: dict[str, Any] = {"JobFlowId": order.cluster, "Steps": steps}
    else:
        request = {**_cluster(config, template, code, order.keep), "Steps": steps}
    validate("emr", "AddJobFlowSteps" if order.cluster else "RunJobFlow", request)
    return request


def _step(
    config: Config, job: str, order: Order, shape: Mapping[str, str], code: Code
) -> dict[str, Any]:
    """A step that fails ends the cluster, or cancels those after it where the cluster stays."""
    stays = bool(order.cluster) or order.keep
    return {
        "Name": f"{config.emr.name}-{job}",
        "ActionOnFailure": "CANCEL_AND_WAIT" if stays else "TERMINATE_CLUSTER",
        "HadoopJarStep": {
            "Jar": "command-runner.jar",
            "Args": _spark_submit(config, job, code, shape, order.as_of),
        },
    }


def _spark_submit(
    config: Config, job: str, code: Code, shape: Mapping[str, str], as_of: str
) -> list[str]:
    region = required(config.emr.region, "emr.region")
    properties = {
        **shape,
        "spark.yarn.appMasterEnv.TZ": config.emr.time_zone,
        # boto3 does not ask the node where it is.
        "spark.yarn.appMasterEnv.AWS_DEFAULT_REGION": region,
        "spark.executorEnv.AWS_DEFAULT_REGION": region,
    }
    if SHAPES[job] == "score":
        gpus = config.emr.gpu_nodes
        properties["spark.executor.instances"] = str(gpus)
        properties["spark.default.parallelism"] = str(gpus)
        if gpus == 1:
            properties["spark.excludeOnFailure.enabled"] = "false"
    return [
        "spark-submit",
        "--deploy-mode", "cluster",
        "--name", f"{config.emr.name}-{job}",
        # One by one: spark-submit reads a properties file from the node's disk only.
        *(part for key, value in properties.items() for part in ("--conf", f"{key}={value}")),
        "--py-files", code.uri(PACKAGE),
        "--files", code.uri(RUN_CONFIG),
        code.uri(f"{job}.py"),
        "--config", RUN_CONFIG,
        *(("--as-of", as_of) if job in TAKES_TIME else ()),
    ]  # fmt: skip


def _cluster(config: Config, template: Mapping[str, Any], code: Code, keep: bool) -> dict[str, Any]:
    """RunJobFlow's request without steps. The cluster ends after its steps, or with `keep` once it
    has been idle for emr.idle_minutes."""
    emr = config.emr
    prefix = required(emr.prefix, "emr.prefix").rstrip("/")
    return {
        "Name": emr.name,
        "ReleaseLabel": emr.release,
        "LogUri": (emr.logs or f"{prefix}/logs").rstrip("/") + "/",
        # Without a key EMR asks for S3's own encryption, which the bucket's policy refuses.
        "LogEncryptionKmsKeyId": required(emr.log_key, "emr.log_key"),
        "ServiceRole": emr.service_role,
        "JobFlowRole": emr.instance_profile,
        "SecurityConfiguration": required(
            emr.security_configuration, "emr.security_configuration"
        ),
        "Instances": {
            "InstanceFleets": _fleets(config, template),
            "Ec2SubnetIds": list(emr.subnets or required(None, "emr.subnets")),
            "KeepJobFlowAliveWhenNoSteps": keep,
            "TerminationProtected": False,
        },
        "AutoTerminationPolicy": {"IdleTimeout": emr.idle_minutes * 60},
        "BootstrapActions": [{
            "Name": "readmit-bootstrap",
            "ScriptBootstrapAction": {
                "Path": code.uri(BOOTSTRAP),
                "Args": [f"{prefix}/readmit-env.tar.gz"],
            },
        }],
        **{key: value for key, value in template.items()
           if key not in ("InstanceFleets", "GpuNodeConfigurations")},
    }  # fmt: skip


def _fleets(config: Config, template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The template's fleets, sized; GPU settings go to the task fleet's machines alone: a node
    manager that is told of GPUs and finds none does not start."""
    sized = []
    for fleet in template["InstanceFleets"]:
        fleet = dict(fleet)
        if fleet["InstanceFleetType"] == "CORE":
            fleet["TargetOnDemandCapacity"] = config.emr.cpu_nodes
        if fleet["InstanceFleetType"] == "TASK":
            fleet["TargetSpotCapacity"] = config.emr.gpu_nodes
            fleet["InstanceTypeConfigs"] = [
                {**kind, "Configurations": template["GpuNodeConfigurations"]}
                for kind in fleet["InstanceTypeConfigs"]
            ]
        sized.append(fleet)
    return sized


def _check_run(config: Config, jobs: Sequence[str]) -> None:
    """What would fail only on the cluster, minutes later."""
    unknown = [job for job in jobs if job not in SHAPES]
    if unknown:
        raise UserError(f"no job {', '.join(unknown)} for a cluster: one of {', '.join(SHAPES)}")
    if not _NAME.fullmatch(config.emr.name):
        raise UserError(
            f"emr.name is {config.emr.name!r}: letters, digits, '.', '_', '-', at most 64"
        )
    if config.emr.time_zone not in available_timezones():
        raise UserError(f"emr.time_zone is {config.emr.time_zone}: a name such as Europe/Amsterdam")
    if config.emr.idle_minutes > 7 * 24 * 60:
        raise UserError(f"emr.idle_minutes is {config.emr.idle_minutes}: EMR takes 7 days at most")
    if config.emr.logs and not config.emr.logs.startswith("s3://"):
        raise UserError(f"emr.logs is {config.emr.logs}: write it as s3://BUCKET/FOLDER")
    _check_paths(config)
    if set(jobs) != {"ingest"}:  # which reads no model
        _check_model(config, jobs)
    if "finetune" in jobs:
        _check_training(config)


def _check_paths(config: Config) -> None:
    paths = {
        "output.root": config.output_root,
        "data.admissions": required(config.data.admissions, "data.admissions"),
        "data.notes": required(config.data.notes, "data.notes"),
        "data.patients": config.data.patients,
    }
    for key, path in paths.items():
        if path and not path.startswith(("s3://", "s3a://", "hdfs://")):
            raise UserError(f"{key} is {path}: a cluster reads and writes s3://, not this machine")


def _check_model(config: Config, jobs: Sequence[str]) -> None:
    """The nodes have no model of their own, and no way to a hub or to a file of this machine."""
    path, registered = config.model.path, config.model.path.startswith("models:/")
    if not registered and not path.startswith(("s3://", "s3a://")):
        raise UserError(f"model.path is {path}, which a cluster's nodes cannot reach: use a folder "
                        "on s3://, or models:/NAME@ALIAS")  # fmt: skip
    # A UserError where there is no registry to take the model from, or to put it into.
    uri = config.tracking_uri if registered or "finetune" in jobs else config.tracking.uri
    if uri and urlsplit(uri).scheme in ("", "file", "sqlite"):
        raise UserError(f"tracking.uri is {uri}, a file of one machine: a cluster needs an MLflow "
                        "server, https://HOST")  # fmt: skip


def _check_training(config: Config) -> None:
    processes, gpus = config.train.processes, config.emr.gpu_nodes
    if not 1 < processes <= gpus:
        raise UserError(f"train.processes is {processes}, and emr.gpu_nodes {gpus}: finetune takes "
                        "a GPU node a process, and 1 trains on the driver's CPU; set it to 2 or "
                        "more, and to emr.gpu_nodes at most")  # fmt: skip


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_comments(v) for k, v in value.items() if k != "//"}
    return [_without_comments(v) for v in value] if isinstance(value, list) else value
