"""Build the requests to EMR as dictionaries; nothing here calls AWS.

conf/emr_cluster.json has the parts of a RunJobFlow request that all accounts share (machines,
YARN). The `emr` section of the configuration has the parts of one account.
conf/spark-emr-SHAPE.conf has the Spark properties of a shape: `prepare` for CPU jobs, `score` for
GPU jobs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from readmit_spark.config import Config, required
from readmit_spark.emr.checks import check_run
from readmit_spark.emr.code import BOOTSTRAP, Code
from readmit_spark.emr.steps import SHAPES, RunOrder, build_step
from readmit_spark.emr.validate import validate
from readmit_spark.errors import UserError

# Tag of a cluster with the submission of its RunOrder.
SUBMISSION = "readmit-submission"


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
    check_run(config, order)
    steps = [build_step(config, job, order, shapes[SHAPES[job]], code) for job in order.jobs]
    if order.cluster:
        request: dict[str, Any] = {"JobFlowId": order.cluster, "Steps": steps}
    else:
        request = {**_cluster(config, template, code, order), "Steps": steps}
    validate("emr", "AddJobFlowSteps" if order.cluster else "RunJobFlow", request)
    return request


def submission(request: Mapping[str, Any]) -> str:
    """Return the submission of the RunOrder that a request was built for."""
    args = request["Steps"][0]["HadoopJarStep"]["Args"]
    tag: str = next(a for a in args if a.startswith("spark.yarn.tags="))
    return tag.removeprefix("spark.yarn.tags=").rpartition("-")[0]


def _cluster(
    config: Config, template: Mapping[str, Any], code: Code, order: RunOrder
) -> dict[str, Any]:
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
            "KeepJobFlowAliveWhenNoSteps": order.keep,
            "TerminationProtected": False,
        },
        "BootstrapActions": [{
            "Name": "readmit-bootstrap",
            "ScriptBootstrapAction": {
                "Path": code.uri(BOOTSTRAP),
                "Args": [f"{prefix}/{required(emr.environment, 'emr.environment')}"],
            },
        }],
        **{key: value for key, value in template.items()
           if key not in ("InstanceFleets", "GpuNodeConfigurations")},
        "Tags": [*template["Tags"], {"Key": SUBMISSION, "Value": order.submission}],
        # A cluster that is not kept ends with its EMR steps; the scheduler has no right to this.
        **({"AutoTerminationPolicy": {"IdleTimeout": emr.idle_minutes * 60}} if order.keep else {}),
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


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_comments(v) for k, v in value.items() if k != "//"}
    return [_without_comments(v) for v in value] if isinstance(value, list) else value
