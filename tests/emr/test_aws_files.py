"""The JSON files that set up an AWS account are valid and allow no more than is used."""

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
GUIDE = (ROOT / "docs/emr.md").read_text()
VALUES = {
    "ACCOUNT": "123456789012",
    "REGION": "eu-west-1",
    "BUCKET": "ward",
    "KEY_ARN": "arn:aws:kms:eu-west-1:123456789012:key/1b2c",
}
ROLES = ["service-role", "nodes", "submitter", "scheduler"]


def filled(name: str) -> Any:
    """Return a file with the placeholders replaced, as by the sed of docs/emr.md."""
    text = (FOLDER / f"{name}.json").read_text()
    for placeholder, value in VALUES.items():
        text = re.sub(rf"\b{placeholder}\b", value, text)
    return json.loads(text)


def statements(name: str) -> list[dict[str, Any]]:
    all_statements: list[dict[str, Any]] = filled(name)["Statement"]
    return all_statements


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", ROLES)
def test_iam_accepts_the_policies(name: str) -> None:
    with mock_aws():  # moto checks IAM's grammar
        iam = boto3.client(
            "iam", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        made = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(filled(name)))
        version = iam.get_policy_version(
            PolicyArn=made["Policy"]["Arn"], VersionId=made["Policy"]["DefaultVersionId"]
        )
        assert version["PolicyVersion"]["Document"] == filled(name)
        if (FOLDER / f"{name}-trust.json").exists():
            trust = json.dumps(filled(f"{name}-trust"))
            role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
            assert role["AssumeRolePolicyDocument"] == filled(f"{name}-trust")


@pytest.mark.parametrize("name", ROLES)
def test_nothing_that_can_be_named_is_allowed_with_a_star(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert not re.fullmatch(r"\*|\w+:\*", action), action
        if "*" in as_list(statement["Resource"]):
            # A new cluster has no ARN yet. Actions that end or change a cluster require its tag;
            # a list of clusters has no narrower permission.
            listed = as_list(statement["Action"]) == ["elasticmapreduce:ListClusters"]
            assert "Condition" in statement or listed


@pytest.mark.parametrize("name", ROLES)
def test_the_actions_exist(name: str) -> None:
    session = botocore.session.get_session()
    services = {"elasticmapreduce": "emr", "kms": "kms", "iam": "iam"}
    for statement in statements(name):
        for action in as_list(statement["Action"]):
            service, _, operation = action.partition(":")
            if service not in services or operation == "PassRole":
                continue
            operations = session.get_service_model(services[service]).operation_names
            pattern = re.escape(operation).replace(r"\*", ".*")
            assert any(re.fullmatch(pattern, name) for name in operations), action


def test_the_submitter_is_allowed_exactly_its_calls() -> None:
    source = "".join(
        (ROOT / f"readmit_spark/emr/{name}.py").read_text() for name in ("run", "send")
    )
    called = {
        "".join(part.title() for part in call.split("_"))
        for call in re.findall(r"\b(?:emr|once)\.(\w+)\(", source)
    } - {"GetPaginator"} | {"ListSteps", "ListClusters"}
    allowed = {
        action.partition(":")[2]
        for statement in statements("submitter")
        for action in as_list(statement["Action"])
        if action.startswith("elasticmapreduce:")
    }
    # RunJobFlow with tags and an auto-termination policy needs these two permissions as well.
    assert allowed == called | {"AddTags", "PutAutoTerminationPolicy"}


def test_the_roles_are_those_of_the_request(config: Config) -> None:
    built = request(config)
    for name in ("submitter", "scheduler"):
        (passed,) = [s for s in statements(name) if s["Action"] == "iam:PassRole"]
        names = {arn.rpartition("/")[2] for arn in passed["Resource"]}
        assert names == {built["ServiceRole"], built["JobFlowRole"]}
    tags = {tag["Key"]: tag["Value"] for tag in built["Tags"]}
    for name in ("submitter", "scheduler"):
        for statement in statements(name):
            for condition, value in statement.get("Condition", {}).get("StringEquals", {}).items():
                if "Tag/" in condition:
                    assert tags[condition.rpartition("/")[2]] == value


def test_the_nodes_may_read_the_files_of_the_request(config: Config) -> None:
    built = request(config, "prepare", "score")
    readable = [
        resource
        for statement in statements("nodes")
        if "s3:GetObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]

    def may_read(uri: str) -> bool:
        arn = uri.replace("s3://", "arn:aws:s3:::")
        return any(re.fullmatch(re.escape(r).replace(r"\*", ".*"), arn) for r in readable)

    bootstrap = built["BootstrapActions"][0]["ScriptBootstrapAction"]
    needed = [bootstrap["Path"], *bootstrap["Args"]]
    for step in built["Steps"]:
        needed += [a for a in step["HadoopJarStep"]["Args"] if a.startswith("s3://")]
    tls = filled("security-configuration")["EncryptionConfiguration"][
        "InTransitEncryptionConfiguration"
    ]["TLSCertificateConfiguration"]["S3Object"]
    needed += [tls, config.data.notes, config.data.admissions, f"{config.output_root}/x"]
    assert [uri for uri in needed if not may_read(uri)] == []
    assert not may_read("s3://ward/other/table")


def test_the_nodes_may_list_the_bucket() -> None:
    """The permission has no condition on the prefix.

    HeadBucket sends no prefix, and without the permission S3 answers 403 instead of 404 for a
    missing object.
    """
    (on_bucket,) = [s for s in statements("nodes") if s["Resource"] == "arn:aws:s3:::ward"]
    # Spark's connector needs the second one to abort uploads of a job that died.
    assert on_bucket["Action"] == ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    assert "Condition" not in on_bucket


def test_the_submitter_may_read_the_logs(config: Config) -> None:
    log = request(config)["LogUri"].replace("s3://", "arn:aws:s3:::") + "*"
    readable = [s["Resource"] for s in statements("submitter") if s["Action"] == "s3:GetObject"]
    assert readable == [log]


def test_everything_is_encrypted() -> None:
    encryption = filled("security-configuration")["EncryptionConfiguration"]
    assert encryption["EnableAtRestEncryption"] and encryption["EnableInTransitEncryption"]
    rest = encryption["AtRestEncryptionConfiguration"]
    assert rest["LocalDiskEncryptionConfiguration"]["EnableEbsEncryption"] is True
    assert rest["S3EncryptionConfiguration"]["EncryptionMode"] == "SSE-KMS"
    validate(
        "emr", "CreateSecurityConfiguration",
        {"Name": "readmit-encryption", "SecurityConfiguration": json.dumps(encryption)},
    )  # fmt: skip


def test_s3_accepts_the_settings_of_the_bucket() -> None:
    for operation, key, name in (
        ("PutBucketLifecycleConfiguration", "LifecycleConfiguration", "bucket-lifecycle"),
        ("PutBucketEncryption", "ServerSideEncryptionConfiguration", "bucket-encryption"),
    ):
        validate("s3", operation, {"Bucket": "ward", key: filled(name)})
    aborted = [r.get("AbortIncompleteMultipartUpload") for r in filled("bucket-lifecycle")["Rules"]]
    assert any(aborted)


def test_the_schedule_starts_the_same_request(tmp_path: Path) -> None:
    """The jq of docs/emr.md fills in the request and its time zone."""
    jq = shutil.which("jq")
    if jq is None:
        pytest.skip("jq is not installed")
    built = request(configured("emr.time_zone=Pacific/Auckland"), as_of="now")
    (tmp_path / "build/aws").mkdir(parents=True)
    (tmp_path / "build/aws/schedule.json").write_text(json.dumps(filled("schedule")))
    (tmp_path / "build/request.json").write_text(json.dumps(built, indent=2))
    (command,) = re.findall(r"^jq .*?> build/schedule\.json$", GUIDE, re.MULTILINE | re.DOTALL)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    schedule = json.loads((tmp_path / "build/schedule.json").read_text())
    validate("scheduler", "CreateSchedule", schedule)
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:emr:runJobFlow"
    assert json.loads(schedule["Target"]["Input"]) == built
    assert schedule["ScheduleExpressionTimezone"] == "Pacific/Auckland"


def test_service_linked_roles_are_created_before_the_first_cluster() -> None:
    assert "aws iam create-service-linked-role" in GUIDE
    assert not [action for name in ("submitter", "scheduler") for s in statements(name)
                for action in as_list(s["Action"]) if "ServiceLinkedRole" in action]  # fmt: skip
