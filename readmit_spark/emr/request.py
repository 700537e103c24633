"""Build the requests to EMR as dictionaries; nothing here calls AWS.

conf/emr_cluster.json has the parts of a RunJobFlow request that all accounts share (machines,
YARN). The `emr` section of the configuration has the parts of one account.
conf/spark-emr-SHAPE.conf has the Spark properties of a shape: `prepare` for CPU jobs, `score` for
GPU jobs.
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

# Job: its shape.
SHAPES = {
    "ingest": "prepare",
    "prepare": "prepare",
    "finetune": "score",
    "score": "score",
    "nightly": "score",
}
JOBS_WITH_AS_OF = {"nightly"}

# Names appear in bills, consoles and log paths. This pattern does not allow text of a note.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_template(path: Path) -> dict[str, Any]:
    """Read conf/emr_cluster.json without its comments (the "//" keys)."""
    try:
        template = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run jobs/emr_submit.py from the clone") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON at line {error.lineno}") from None
    cleaned: dict[str, Any] = _without_comments(template)
    return cleaned


def read_shapes(folder: Path) -> dict[str, dict[str, str]]:
    """Read the Spark properties of each shape from `folder`/spark-emr-SHAPE.conf."""
    return {shape: read_shape(folder / f"spark-emr-{shape}.conf") for shape in SHAPES.values()}


def read_shape(path: Path) -> dict[str, str]:
    """Read a Spark properties file, in which `#` starts a comment line."""
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
class RunOrder:
    """Which jobs to run, and where.

    as_of: value of --as-of for the jobs that have it; cluster: id of a running cluster, or None
    for a new one; keep: the new cluster does not end after its EMR steps.
    """

    jobs: Sequence[str]
    as_of: str
    cluster: str | None = None
    keep: bool = False


def build_request(
    config: Config,
    order: RunOrder,
    template: Mapping[str, Any],
    shapes: Mapping[str, Mapping[str, str]],
    code: Code,
) -> dict[str, Any]:
    """Return the request of RunJobFlow, or of AddJobFlowSteps for a running cluster.

    Raise a UserError for settings that would fail only on the cluster, or that EMR would reject.
    """
    _check_run(config, order.jobs)
    steps = [_step(config, job, order, shapes[SHAPES[job]], code) for job in order.jobs]
    if order.cluster:
        request: dict[str, Any] = {"JobFlowId": order.cluster, "Steps": steps}
    else:
        request = {**_cluster(config, template, code, order.keep), "Steps": steps}
    validate("emr", "AddJobFlowSteps" if order.cluster else "RunJobFlow", request)
    return request


def _step(
    config: Config, job: str, order: RunOrder, shape: Mapping[str, str], code: Code
) -> dict[str, Any]:
    """Return an EMR step; if it fails, the cluster ends or, if it stays, cancels later steps."""
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
        # boto3 does not find the region of an EC2 instance by itself.
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
        # Single options, because spark-submit reads a properties file only from the local disk.
        *(part for key, value in properties.items() for part in ("--conf", f"{key}={value}")),
        "--py-files", code.uri(PACKAGE),
        "--files", code.uri(RUN_CONFIG),
        code.uri(f"{job}.py"),
        "--config", RUN_CONFIG,
        *(("--as-of", as_of) if job in JOBS_WITH_AS_OF else ()),
    ]  # fmt: skip


def _cluster(config: Config, template: Mapping[str, Any], code: Code, keep: bool) -> dict[str, Any]:
    """Return RunJobFlow's request without EMR steps.

    The cluster ends after its EMR steps, or with `keep` after emr.idle_minutes without work.
    """
    emr = config.emr
    prefix = required(emr.prefix, "emr.prefix").rstrip("/")
    return {
        "Name": emr.name,
        "ReleaseLabel": emr.release,
        "LogUri": (emr.logs or f"{prefix}/logs").rstrip("/") + "/",
        # Without a key EMR uses S3's own encryption, which the bucket's policy denies.
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
    """Return the template's fleets with the configured sizes.

    Only the machines of the task fleet get the GPU settings, because YARN's node manager does not
    start with GPU settings on a machine without a GPU.
    """
    fleets = []
    for fleet in template["InstanceFleets"]:
        fleet = dict(fleet)
        if fleet["InstanceFleetType"] == "CORE":
            fleet["TargetOnDemandCapacity"] = config.emr.cpu_nodes
        if fleet["InstanceFleetType"] == "TASK":
            fleet["TargetSpotCapacity"] = config.emr.gpu_nodes
            fleet["InstanceTypeConfigs"] = [
                {**machine, "Configurations": template["GpuNodeConfigurations"]}
                for machine in fleet["InstanceTypeConfigs"]
            ]
        fleets.append(fleet)
    return fleets


def _check_run(config: Config, jobs: Sequence[str]) -> None:
    """Raise a UserError for settings that would fail only on the cluster, minutes later."""
    unknown = [job for job in jobs if job not in SHAPES]
    if unknown:
        raise UserError(f"{', '.join(unknown)} cannot run on a cluster; use {', '.join(SHAPES)}")
    if not _NAME.fullmatch(config.emr.name):
        raise UserError(
            f"emr.name is {config.emr.name!r}: use at most 64 letters, digits, '.', '_', '-'"
        )
    if config.emr.time_zone not in available_timezones():
        raise UserError(
            f"emr.time_zone is {config.emr.time_zone}: use a name such as Europe/Amsterdam"
        )
    if config.emr.idle_minutes > 7 * 24 * 60:
        raise UserError(f"emr.idle_minutes is {config.emr.idle_minutes}: EMR allows 7 days at most")
    if config.emr.logs and not config.emr.logs.startswith("s3://"):
        raise UserError(f"emr.logs is {config.emr.logs}: write it as s3://BUCKET/FOLDER")
    _check_paths(config)
    if set(jobs) != {"ingest"}:  # ingest does not read a model
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
    """Raise a UserError unless the nodes can reach the model, the registry and nothing local."""
    path, registered = config.model.path, config.model.path.startswith("models:/")
    if not registered and not path.startswith(("s3://", "s3a://")):
        raise UserError(f"model.path is {path}, which a cluster's nodes cannot reach: use a folder "
                        "on s3://, or models:/NAME@ALIAS")  # fmt: skip
    # `tracking_uri` raises a UserError if it is not set; these jobs need a registry.
    uri = config.tracking_uri if registered or "finetune" in jobs else config.tracking.uri
    if uri and urlsplit(uri).scheme in ("", "file", "sqlite"):
        raise UserError(f"tracking.uri is {uri}, a file of one machine: a cluster needs an MLflow "
                        "server, https://HOST")  # fmt: skip


def _check_training(config: Config) -> None:
    processes, gpus = config.train.processes, config.emr.gpu_nodes
    if not 1 < processes <= gpus:
        raise UserError(
            f"train.processes is {processes} and emr.gpu_nodes is {gpus}: finetune needs one GPU "
            "node per process, and a single process would train on the driver's CPU; set "
            "train.processes to 2 or more, at most emr.gpu_nodes"
        )


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_comments(v) for k, v in value.items() if k != "//"}
    return [_without_comments(v) for v in value] if isinstance(value, list) else value
