from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.emr.code import Code, with_run_config
from readmit_spark.emr.request import build_request, read_shapes, read_template
from readmit_spark.emr.steps import SHAPES, RunOrder

ROOT = Path(__file__).parents[2]
ENVIRONMENT = f"readmit-env-{'ab' * 32}.tar.gz"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1b2c3d4e"
ACCOUNT = [
    "data.admissions=s3://ward/raw/ADMISSIONS.parquet",
    "data.notes=s3://ward/raw/NOTEEVENTS.parquet",
    "output.root=s3://ward/readmission",
    "model.path=s3://ward/models/champion",
    "emr.region=eu-west-1",
    "emr.prefix=s3://ward/readmit-spark",
    "emr.subnets=[subnet-0a0a0a0a, subnet-0b0b0b0b0b0b0b0b0]",
    f"emr.environment={ENVIRONMENT}",
    f"emr.log_key={KEY}",
]


def configured(*more: str) -> Config:
    return load_config(ROOT / "conf/emr.yaml", [*ACCOUNT, *more])


def code(config: Config) -> Code:
    """Return placeholders for the package, the jobs and the bootstrap script."""
    names = ["readmit_spark.zip", "emr_bootstrap.sh", *(f"{job}.py" for job in SHAPES)]
    return with_run_config(config, {name: name.encode() for name in names})


def request(config: Config, *jobs: str, **order: Any) -> dict[str, Any]:
    order.setdefault("as_of", "2026-01-02T03:30:00")
    return build_request(
        config,
        RunOrder(jobs or ("nightly",), **order),
        read_template(ROOT / "conf/emr_cluster.json"),
        read_shapes(ROOT / "conf"),
        code(config),
    )


@pytest.fixture
def config() -> Config:
    return configured()
