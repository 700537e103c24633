"""What the policies allow and deny, case by case."""

from __future__ import annotations

import pytest

from tests.emr.policies import Context, allowed, denied
from tests.emr.test_aws_files import VALUES, filled

KEY, OTHER_KEY = VALUES["KEY_ARN"], "arn:aws:kms:eu-west-1:123456789012:key/9f9f"
OBJECT = "arn:aws:s3:::ward/readmission/score/x.parquet"
OURS = {
    "aws:SecureTransport": "true",
    "s3:TlsVersion": "1.3",
    "aws:PrincipalAccount": "123456789012",
    "aws:PrincipalIsAWSService": "false",
}
SSE = "s3:x-amz-server-side-encryption"
SSE_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
SSE_C = "s3:x-amz-server-side-encryption-customer-algorithm"


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({}, []),  # no header: S3 takes the bucket's default, our key
        ({SSE: "aws:kms", SSE_KEY: KEY}, []),
        ({SSE_KEY: KEY}, []),
        ({SSE: "aws:kms", SSE_KEY: OTHER_KEY}, ["DenyOtherKeys"]),
        ({SSE_KEY: OTHER_KEY}, ["DenyOtherKeys"]),
        ({SSE: "aws:kms"}, ["DenyAwsOwnKey"]),  # S3 would take aws/s3
        ({SSE: "AES256"}, ["DenyOtherEncryption", "DenyAwsOwnKey"]),
        ({SSE: "aws:kms:dsse"}, ["DenyOtherEncryption", "DenyAwsOwnKey"]),
        ({SSE: "aws:kms:dsse", SSE_KEY: KEY}, ["DenyOtherEncryption"]),
        ({SSE: "aws:fsx"}, ["DenyOtherEncryption", "DenyAwsOwnKey"]),
        ({SSE_C: "AES256"}, ["DenyKeysOfTheCaller"]),
        ({"aws:SecureTransport": "false"}, ["DenyPlainHttp"]),
        ({"s3:TlsVersion": "1.1"}, ["DenyOldTls"]),
        ({"aws:PrincipalAccount": "999999999999"}, ["DenyOtherAccounts"]),
    ],
)
def test_an_object_is_written_with_our_key_by_our_account_or_not_at_all(
    change: Context, by: list[str]
) -> None:
    assert denied(filled("bucket-policy"), "s3:PutObject", OBJECT, OURS | change) == by


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({}, []),
        ({"aws:SecureTransport": "false"}, ["DenyPlainHttp"]),
        ({"aws:PrincipalAccount": "999999999999"}, ["DenyOtherAccounts"]),
    ],
)
def test_an_object_is_read_by_our_account_alone(change: Context, by: list[str]) -> None:
    assert denied(filled("bucket-policy"), "s3:GetObject", OBJECT, OURS | change) == by


def test_a_caller_without_an_account_is_denied_and_a_service_of_aws_is_not() -> None:
    nobody = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
    policy = filled("bucket-policy")
    assert denied(policy, "s3:GetObject", OBJECT, nobody) == ["DenyOtherAccounts"]
    service = nobody | {"aws:PrincipalIsAWSService": "true"}
    assert denied(policy, "s3:GetObject", OBJECT, service) == []


EMR = "elasticmapreduce:"
CLUSTER = "arn:aws:elasticmapreduce:eu-west-1:123456789012:cluster/j-1"
MANAGED = "for-use-with-amazon-emr-managed-policies"
TAGGED = {f"aws:RequestTag/{MANAGED}": "true", "aws:RequestTag/project": "readmit"}
OUR_CLUSTER = {f"{EMR}ResourceTag/{MANAGED}": "true", f"{EMR}ResourceTag/project": "readmit"}
OTHER_CLUSTER = {f"{EMR}ResourceTag/{MANAGED}": "true", f"{EMR}ResourceTag/project": "payroll"}
UNTAGGED = {f"{EMR}ResourceTag/{MANAGED}": "true"}
ROLE = "arn:aws:iam::123456789012:role/"
TO_EMR = {"iam:PassedToService": "elasticmapreduce.amazonaws.com"}
BUCKET = "arn:aws:s3:::ward/"
ENVIRONMENT = f"{BUCKET}readmit-spark/readmit-env-{'ab' * 32}.tar.gz"
VIA_S3 = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}


@pytest.mark.parametrize(
    ("role", "action", "resource", "context", "expected"),
    [
        ("submitter", f"{EMR}RunJobFlow", "*", TAGGED, True),
        ("submitter", f"{EMR}RunJobFlow", "*", {f"aws:RequestTag/{MANAGED}": "true"}, False),
        ("submitter", f"{EMR}RunJobFlow", "*", {}, False),
        ("submitter", f"{EMR}AddJobFlowSteps", CLUSTER, OUR_CLUSTER, True),
        ("submitter", f"{EMR}AddJobFlowSteps", CLUSTER, OTHER_CLUSTER, False),
        ("submitter", f"{EMR}AddJobFlowSteps", CLUSTER, UNTAGGED, False),
        ("submitter", f"{EMR}TerminateJobFlows", CLUSTER, OUR_CLUSTER, True),
        ("submitter", f"{EMR}TerminateJobFlows", CLUSTER, OTHER_CLUSTER, False),
        ("submitter", f"{EMR}PutAutoTerminationPolicy", CLUSTER, OUR_CLUSTER, True),
        ("submitter", f"{EMR}PutAutoTerminationPolicy", CLUSTER, OTHER_CLUSTER, False),
        ("submitter", f"{EMR}ModifyInstanceFleet", CLUSTER, OUR_CLUSTER, False),
        ("submitter", "iam:PassRole", f"{ROLE}readmit-emr-nodes", TO_EMR, True),
        ("submitter", "iam:PassRole", f"{ROLE}admin", TO_EMR, False),
        ("submitter", "s3:PutObject", ENVIRONMENT, {}, True),
        ("submitter", "s3:PutObject", f"{BUCKET}readmit-spark/certificates.zip", {}, False),
        ("submitter", "s3:GetObject", f"{BUCKET}raw/NOTES", {}, False),
        ("submitter", "s3:GetObject", f"{BUCKET}readmission/x", {}, False),
        ("submitter", "kms:Decrypt", KEY, VIA_S3, True),
        ("submitter", "kms:Decrypt", KEY, {}, False),
        ("scheduler", f"{EMR}RunJobFlow", "*", TAGGED, True),
        ("scheduler", f"{EMR}RunJobFlow", "*", {}, False),
        ("scheduler", f"{EMR}AddJobFlowSteps", CLUSTER, OUR_CLUSTER, False),
        ("scheduler", f"{EMR}PutAutoTerminationPolicy", CLUSTER, OUR_CLUSTER, False),
        ("scheduler", "iam:PassRole", f"{ROLE}admin", TO_EMR, False),
        ("nodes", "s3:GetObject", f"{BUCKET}raw/NOTES", {}, True),
        ("nodes", "s3:GetObject", ENVIRONMENT, {}, True),
        ("nodes", "s3:PutObject", ENVIRONMENT, {}, False),
        ("nodes", "s3:PutObject", f"{BUCKET}raw/NOTES", {}, False),
        ("nodes", "s3:PutObject", f"{BUCKET}models/x", {}, False),
        ("nodes", "s3:PutObject", f"{BUCKET}readmit-spark/code/x", {}, False),
        ("nodes", "s3:PutObject", f"{BUCKET}readmission/x", {}, True),
        ("nodes", "s3:DeleteObject", f"{BUCKET}readmission/x", {}, True),
        ("nodes", "s3:GetObject", "arn:aws:s3:::other/raw/NOTES", {}, False),
        ("nodes", "kms:Decrypt", KEY, {}, True),
        ("nodes", "kms:Decrypt", OTHER_KEY, {}, False),
        ("nodes", "kms:ReEncryptTo", KEY, {}, False),
        ("nodes", f"{EMR}RunJobFlow", "*", TAGGED, False),
    ],
)
def test_each_role_may_do_its_work_and_no_more(
    role: str, action: str, resource: str, context: Context, expected: bool
) -> None:
    assert allowed([filled(role)], action, resource, context) is expected


@pytest.mark.parametrize(
    ("trust", "source", "expected"),
    [
        ("scheduler", "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/readmit", True),
        ("scheduler", "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/default", False),
        ("service-role", "arn:aws:elasticmapreduce:eu-west-1:123456789012:cluster/j-1", True),
        ("service-role", "arn:aws:elasticmapreduce:us-east-1:123456789012:cluster/j-1", False),
    ],
)
def test_a_role_is_taken_by_our_schedules_and_clusters_alone(
    trust: str, source: str, expected: bool
) -> None:
    policy, action = filled(f"{trust}-trust"), "sts:AssumeRole"
    ours = {"aws:SourceAccount": "123456789012", "aws:SourceArn": source}
    assert allowed([policy], action, "*", ours) is expected
    assert not allowed([policy], action, "*", ours | {"aws:SourceAccount": "999999999999"})


def test_the_schedule_is_in_the_group_that_the_role_trusts() -> None:
    source = filled("scheduler-trust")["Statement"][0]["Condition"]["StringEquals"]["aws:SourceArn"]
    assert source.endswith(f":schedule-group/{filled('schedule')['GroupName']}")


def test_deleted_notes_do_not_stay_on_a_versioned_bucket() -> None:
    rules = [
        rule for rule in filled("bucket-lifecycle")["Rules"]
        if rule["Filter"]["Prefix"] == "readmission/"
    ]  # fmt: skip
    assert [rule["NoncurrentVersionExpiration"] for rule in rules] == [{"NoncurrentDays": 7}]
