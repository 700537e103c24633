"""Check the settings of a run on EMR without network and account.

Each check is a mistake that would otherwise show on the cluster, after minutes that are paid for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from readmit_spark.config import Config, Emr, flatten, required, to_dict
from readmit_spark.emr.steps import SHAPES, RunOrder
from readmit_spark.errors import UserError

# Names appear in bills, consoles and log paths. This pattern does not allow text of a note.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUBNET = re.compile(r"subnet-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_CLUSTER = re.compile(r"j-[A-Z0-9]{1,20}")
# S3's rules for a bucket's name. Placeholders such as BUCKET are upper case.
_BUCKET = re.compile(r"(?!.*\.\.)(?!(?:\d+\.){3}\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ROLE = re.compile(r"(?:arn:aws[a-z-]*:iam::\d{12}:(?:role|instance-profile)/)?[\w+=,.@-]{1,64}")
# From 7.10 on, EMR reads s3:// with the connector that the jobs were written for.
_RELEASE = re.compile(r"emr-7\.[1-9]\d\.\d+")
_KEY = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):\d{12}:key/[0-9a-zA-Z-]+")
ENVIRONMENT = re.compile(r"readmit-env-(?P<sha256>[0-9a-f]{64})\.tar\.gz")


def check_run(config: Config, order: RunOrder) -> None:
    """Raise a UserError for settings that EMR would reject, or that would fail on the cluster."""
    unknown = [job for job in order.jobs if job not in SHAPES]
    if unknown:
        raise UserError(f"{', '.join(unknown)} cannot run on a cluster; use {', '.join(SHAPES)}")
    if len(set(order.jobs)) < len(order.jobs):
        raise UserError(f"{', '.join(order.jobs)}: a job can be named only once")
    if order.cluster and not _CLUSTER.fullmatch(order.cluster):
        raise UserError(f"--cluster {order.cluster}: an EMR cluster's id is like j-2AXXXXXXGAPLF")
    _check_secrets(config)
    _check_settings(config.emr)
    _check_account(config.emr, new_cluster=not order.cluster)
    _check_paths(config, new_cluster=not order.cluster)
    if set(order.jobs) != {"ingest"}:  # ingest does not read a model
        _check_model(config, order.jobs)
    if "finetune" in order.jobs:
        _check_training(config)


def remarks(config: Config, jobs: Sequence[str]) -> list[str]:
    """Return lines about settings that are valid but slow."""
    notes = config.data.notes or ""
    if notes.endswith((".csv", ".csv.gz")) and set(jobs) & {"prepare", "nightly"}:
        return ["data.notes is a CSV, which one task of the cluster reads: run ingest once, and "
                "read its Parquet"]  # fmt: skip
    return []


def _check_secrets(config: Config) -> None:
    given = flatten(dataclasses.asdict(config))
    for key, shown in flatten(to_dict(config)).items():
        if shown != given[key]:
            raise UserError(
                f"{key} holds a user, password or query, which would be stored under emr.prefix: "
                f"write it as {shown}; the server must let the nodes in by their network or role"
            )


def _check_settings(emr: Emr) -> None:
    if not _NAME.fullmatch(emr.name):
        raise UserError(f"emr.name is {emr.name!r}: use at most 64 letters, digits, '.', '_', '-'")
    if emr.time_zone not in available_timezones():
        raise UserError(f"emr.time_zone is {emr.time_zone}: use a name such as Europe/Amsterdam")
    if emr.idle_minutes > 7 * 24 * 60:
        raise UserError(f"emr.idle_minutes is {emr.idle_minutes}: EMR allows 7 days at most")
    region = required(emr.region, "emr.region")
    if region not in _emr_regions():
        raise UserError(f"emr.region is {region}: EMR has no such region; write it as eu-west-1")
    _check_s3("emr.prefix", required(emr.prefix, "emr.prefix"))
    if emr.logs:
        _check_s3("emr.logs", emr.logs)


def _check_account(emr: Emr, new_cluster: bool) -> None:
    """Check what only a new cluster's request names."""
    if not new_cluster:
        return
    if not _RELEASE.fullmatch(emr.release):
        raise UserError(f"emr.release is {emr.release}: use EMR 7.10 or a later 7, as emr-7.14.0")
    for subnet in emr.subnets or required(None, "emr.subnets"):
        if not _SUBNET.fullmatch(subnet):
            raise UserError(f"emr.subnets has {subnet}: write each as subnet-0123456789abcdef0")
    for name in ("service_role", "instance_profile"):
        if not _ROLE.fullmatch(getattr(emr, name)):
            raise UserError(f"emr.{name} is {getattr(emr, name)!r}: give its name in IAM, or ARN")
    key = _KEY.fullmatch(required(emr.log_key, "emr.log_key"))
    if not key:
        raise UserError(
            f"emr.log_key is {emr.log_key}: write it as arn:aws:kms:REGION:ACCOUNT:key/ID"
        )
    if key["region"] != emr.region:
        raise UserError(f"emr.log_key is a key of {key['region']}, the cluster's is {emr.region}")
    required(emr.security_configuration, "emr.security_configuration")
    if not ENVIRONMENT.fullmatch(required(emr.environment, "emr.environment")):
        raise UserError(
            f"emr.environment is {emr.environment}: give the file name that `make emr-env` prints, "
            "readmit-env-SHA256.tar.gz"
        )


def _check_paths(config: Config, new_cluster: bool) -> None:
    paths = {
        "output.root": config.output_root,
        "data.admissions": required(config.data.admissions, "data.admissions"),
        "data.notes": required(config.data.notes, "data.notes"),
        "data.patients": config.data.patients,
        "data.truth": config.data.truth,
        "nightly.columns_table": config.nightly.columns_table,
        "nightly.actions": config.nightly.actions,
    }
    for key, path in paths.items():
        if not path:
            continue
        scheme = urlsplit(path).scheme
        if scheme not in ("s3", "s3a", "hdfs"):
            raise UserError(f"{key} is {path}: a cluster reads and writes s3://, not this machine")
        if scheme != "hdfs":
            _check_s3(key, path)
        elif new_cluster and not urlsplit(path).netloc:
            raise UserError(f"{key} is {path}, on the disks of a cluster that ends: use s3://")
    prefix, root = (f"{p}/" for p in (_bare(config.emr.prefix), _bare(config.output_root)))
    if prefix.startswith(root) or root.startswith(prefix):
        raise UserError(
            f"output.root is {config.output_root} and emr.prefix {config.emr.prefix}: keep "
            "patients' data and code in folders apart"
        )


def _check_model(config: Config, jobs: Sequence[str]) -> None:
    """Raise a UserError unless the nodes can reach the model, the registry and nothing local."""
    path, registered = config.model.path, config.model.path.startswith("models:/")
    if not registered and not path.startswith(("s3://", "s3a://")):
        raise UserError(f"model.path is {path}, which a cluster's nodes cannot reach: use a folder "
                        "on s3://, or models:/NAME@ALIAS")  # fmt: skip
    if not registered:
        _check_s3("model.path", path)
    # `tracking_uri` raises a UserError if it is not set; these jobs need a registry.
    uri = config.tracking_uri if registered or "finetune" in jobs else config.tracking.uri
    if not uri:
        return
    if urlsplit(uri).scheme in ("", "file", "sqlite"):
        raise UserError(f"tracking.uri is {uri}, a file of one machine: a cluster needs an MLflow "
                        "server, https://HOST")  # fmt: skip
    host = urlsplit(uri).hostname or ""
    if not host or urlsplit(uri).netloc.isupper() or host in ("localhost", "127.0.0.1", "::1"):
        raise UserError(
            f"tracking.uri names no server that the nodes can reach but {host or 'nothing'}"
        )
    artifacts = config.tracking.artifacts
    if artifacts and urlsplit(artifacts).scheme in ("", "file"):
        raise UserError(
            f"tracking.artifacts is {artifacts}, which the nodes cannot reach: use s3://"
        )


def _check_training(config: Config) -> None:
    processes, gpus = config.train.processes, config.emr.gpu_nodes
    if not 1 < processes <= gpus:
        raise UserError(
            f"train.processes is {processes} and emr.gpu_nodes is {gpus}: finetune needs one GPU "
            "node per process, and a single process would train on the driver's CPU; set "
            "train.processes to 2 or more, at most emr.gpu_nodes"
        )


def _check_s3(key: str, uri: str) -> None:
    """Raise a UserError unless `uri` names a possible bucket and something in it."""
    parts = urlsplit(uri)
    named = parts.scheme in ("s3", "s3a") and parts.path.strip("/")
    if not named or not _BUCKET.fullmatch(parts.netloc):
        raise UserError(f"{key} is {uri}: write it as s3://my-bucket/FOLDER, with your bucket")


def _bare(uri: str | None) -> str:
    """Return the URI without its scheme and the slashes around it."""
    return (uri or "").partition("://")[2].strip("/")


def _emr_regions() -> set[str]:
    import botocore.session

    session = botocore.session.get_session()
    return {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("emr", partition_name=partition)
    }
