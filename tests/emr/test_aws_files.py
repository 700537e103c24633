"""The JSON that an account is set up with: well formed, and no more allowed than is used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from moto import mock_aws

from readmit_spark.config import Config
from readmit_spark.emr.validate import validate
from tests.emr.conftest import ROOT, configured, request

FOLDER = ROOT / "conf/aws"
README = (ROOT / "README.md").read_text()
VALUES = {
    "ACCOUNT": "123456789012",
    "REGION": "eu-west-1",
    "BUCKET": "ward",
    "KEY_ARN": "arn:aws:kms:eu-west-1:123456789012:key/1b2c",
}
ROLES = ["service-role", "nodes", "submitter", "scheduler"]


def filled(name: str) -> Any:
    """As the README's sed fills it in."""
    text = (FOLDER / f"{name}.json").read_text()
    for placeholder, value in VALUES.items():
        text = re.sub(rf"\b{placeholder}\b", value, text)
    return json.loads(text)


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = filled(name)["Statement"]
    return found


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", ROLES)
def test_iam_takes_the_policies(name: str) -> None:
    with mock_aws():  # moto holds policies against IAM's grammar
        iam = boto3.client(
            "iam", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(filled(name)))
        if (FOLDER / f"{name}-trust.json").exists():
            trust = json.dumps(filled(f"{name}-trust"))
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)


@pytest.mark.parametrize("name", ROLES)
def test_nothing_is_allowed_by_a_star_that_can_be_named(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert not re.fullmatch(r"\*|\w+:\*", action), action
        if "*" in listed(statement["Resource"]):
            # A cluster has no name before it is there. What ends or changes one asks for its tag.
            assert "Condition" in statement or listed(statement["Action"]) == [
                "elasticmapreduce:PutAutoTerminationPolicy"
            ]


@pytest.mark.parametrize("name", ROLES)
def test_the_actions_exist(name: str) -> None:
    session = botocore.session.get_session()
    services = {"elasticmapreduce": "emr", "kms": "kms", "iam": "iam"}
    for statement in statements(name):
        for action in listed(statement["Action"]):
            service, _, operation = action.partition(":")
            if service not in services or operation == "PassRole":
                continue
            known = session.get_service_model(services[service]).operation_names
            pattern = re.escape(operation).replace(r"\*", ".*")
            assert any(re.fullmatch(pattern, name) for name in known), action


def test_the_submitter_may_do_what_the_submitter_does() -> None:
    source = (ROOT / "readmit_spark/emr/run.py").read_text()
    called = {
        "".join(part.title() for part in call.split("_"))
        for call in re.findall(r"emr\.(\w+)\(", source)
    } - {"GetPaginator"} | {"ListSteps"}
    allowed = {
        action.partition(":")[2]
        for statement in statements("submitter")
        for action in listed(statement["Action"])
        if action.startswith("elasticmapreduce:")
    }
    # RunJobFlow with tags and with an auto-termination policy asks for the permission of each.
    assert allowed == called | {"AddTags", "PutAutoTerminationPolicy"}


def test_the_roles_are_the_ones_the_request_names(config: Config) -> None:
    asked = request(config)
    for name in ("submitter", "scheduler"):
        (passed,) = [s for s in statements(name) if s["Action"] == "iam:PassRole"]
        names = {arn.rpartition("/")[2] for arn in passed["Resource"]}
        assert names == {asked["ServiceRole"], asked["JobFlowRole"]}
    key = {tag["Key"] for tag in asked["Tags"]}.pop()
    for statement in statements("submitter"):
        for condition in statement.get("Condition", {}).get("StringEquals", {}):
            assert condition.startswith("iam:") or condition.endswith(f"/{key}")


def test_the_nodes_reach_what_the_request_names(config: Config) -> None:
    asked = request(config, "prepare", "score")
    readable = [
        resource
        for statement in statements("nodes")
        if "s3:GetObject" in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]

    def may_read(uri: str) -> bool:
        arn = uri.replace("s3://", "arn:aws:s3:::")
        return any(re.fullmatch(re.escape(r).replace(r"\*", ".*"), arn) for r in readable)

    bootstrap = asked["BootstrapActions"][0]["ScriptBootstrapAction"]
    needed = [bootstrap["Path"], *bootstrap["Args"]]
    for step in asked["Steps"]:
        needed += [a for a in step["HadoopJarStep"]["Args"] if a.startswith("s3://")]
    tls = filled("security-configuration")["EncryptionConfiguration"][
        "InTransitEncryptionConfiguration"
    ]["TLSCertificateConfiguration"]["S3Object"]
    needed += [tls, config.data.notes, config.data.admissions, f"{config.output_root}/x"]
    assert [uri for uri in needed if not may_read(uri)] == []
    assert not may_read("s3://ward/other/table")


def test_the_nodes_may_ask_what_is_in_the_bucket() -> None:
    """Without a condition on the prefix: HeadBucket carries none, and S3 answers 403 and not 404
    for an object that is not there to who may not list."""
    (on_bucket,) = [s for s in statements("nodes") if s["Resource"] == "arn:aws:s3:::ward"]
    # The second is what Spark's connector aborts a dead job's uploads by.
    assert on_bucket["Action"] == ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    assert "Condition" not in on_bucket


def test_who_submits_may_read_the_log_that_is_named(config: Config) -> None:
    log = request(config)["LogUri"].replace("s3://", "arn:aws:s3:::") + "*"
    readable = [s["Resource"] for s in statements("submitter") if s["Action"] == "s3:GetObject"]
    assert readable == [log]


def test_everything_is_encrypted() -> None:
    found = filled("security-configuration")["EncryptionConfiguration"]
    assert found["EnableAtRestEncryption"] and found["EnableInTransitEncryption"]
    rest = found["AtRestEncryptionConfiguration"]
    assert rest["LocalDiskEncryptionConfiguration"]["EnableEbsEncryption"] is True
    assert rest["S3EncryptionConfiguration"]["EncryptionMode"] == "SSE-KMS"
    validate(
        "emr", "CreateSecurityConfiguration",
        {"Name": "readmit-encryption", "SecurityConfiguration": json.dumps(found)},
    )  # fmt: skip


def test_the_buckets_settings_are_what_s3_takes() -> None:
    for operation, key, name in (
        ("PutBucketLifecycleConfiguration", "LifecycleConfiguration", "bucket-lifecycle"),
        ("PutBucketEncryption", "ServerSideEncryptionConfiguration", "bucket-encryption"),
    ):
        validate("s3", operation, {"Bucket": "ward", key: filled(name)})
    aborted = [r.get("AbortIncompleteMultipartUpload") for r in filled("bucket-lifecycle")["Rules"]]
    assert any(aborted)


def test_the_schedule_starts_the_same_request(tmp_path: Path) -> None:
    """In the request's time zone, as the README's jq fills it in."""
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    asked = request(configured("emr.time_zone=Pacific/Auckland"), as_of="now")
    (tmp_path / "build/aws").mkdir(parents=True)
    (tmp_path / "build/aws/schedule.json").write_text(json.dumps(filled("schedule")))
    (tmp_path / "build/request.json").write_text(json.dumps(asked, indent=2))
    (command,) = re.findall(r"^jq .*?> build/schedule\.json$", README, re.MULTILINE | re.DOTALL)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    schedule = json.loads((tmp_path / "build/schedule.json").read_text())
    validate("scheduler", "CreateSchedule", schedule)
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:emr:runJobFlow"
    assert json.loads(schedule["Target"]["Input"]) == asked
    assert schedule["ScheduleExpressionTimezone"] == "Pacific/Auckland"


def test_the_roles_that_aws_makes_at_the_first_cluster_are_made_before_it() -> None:
    assert "aws iam create-service-linked-role" in README
    assert not [action for name in ("submitter", "scheduler") for s in statements(name)
                for action in listed(s["Action"]) if "ServiceLinkedRole" in action]  # fmt: skip
