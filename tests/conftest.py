from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.once import make_once

if TYPE_CHECKING:  # most tests need neither Spark nor torch, and importing them takes seconds
    import numpy as np
    from pyspark.sql import SparkSession

    from readmit_spark.notes.tokenizer import ChunkTokenizer
    from tests.ward import Ward

# The models are tiny and several processes test at once: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The test files that take longest, longest first. Processes take the files in this order, so that
# none of them still has a long one when the others are done.
LONGEST = (
    "nightly/test_nightly_job.py",
    "jobs/test_programs.py",
    "nightly/test_monitor_job.py",
    "insight/test_explain_job.py",
    "comparison/test_compare_job.py",
    "jobs/test_main_path.py",
    "training/test_distributed.py",
    "comparison/test_audit_job.py",
    "pretraining/test_pretrain_job.py",
    "notes/test_prepare_job.py",
    "training/test_choose_model.py",
    "training/test_finetune.py",
    "storage/test_ingest_job.py",
    "nightly/test_control_charts.py",
    "storage/test_input_tables.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.nodeid.partition("::")[0].removeprefix("tests/")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Spark session's event log."""
    return tmp_path_factory.mktemp("event_log")


@pytest.fixture(scope="session")
def spark(event_log: Path) -> Iterator[SparkSession]:
    from readmit_spark.storage.session import build_session
    from tests.spark_options import submit_arguments

    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.rolling.enabled": "false",  # one plain file on either Spark line
        "spark.eventLog.dir": event_log.as_uri(),
        "spark.eventLog.compress": "false",
    }
    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(settings)
    session = build_session("tests")
    del os.environ["PYSPARK_SUBMIT_ARGS"]
    yield session
    session.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start an S3 server with one bucket, `ward`, and yield its address.

    S3 clients of this process and its children use this server from then on.
    """
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    boto3.client("s3").create_bucket(Bucket="ward")
    yield address
    os.environ.clear()
    os.environ |= before
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> Iterator[str]:
    """s3://ward, emptied after the test."""
    import boto3

    yield "s3://ward"
    boto3.resource("s3").Bucket("ward").objects.all().delete()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tokenizer and a random BERT with one logit."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def tokenizer(tiny_model: str) -> ChunkTokenizer:
    from readmit_spark.scoring.load_tokenizer import load_tokenizer

    return load_tokenizer(tiny_model, 128)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one torch thread: for models this small, more threads are slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.tiny_bert import save_bert

    return save_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def chunks() -> list[np.ndarray]:
    """40 chunks of 2 to 64 token ids, in no order of length."""
    import numpy as np

    random = np.random.default_rng(3)
    lengths = [64, 2, 63, *random.integers(2, 65, size=37)]
    return [random.integers(5, 100, size=n).astype(np.int32) for n in lengths]


@pytest.fixture(scope="session")
def ward(
    spark: SparkSession,
    tokenizer: ChunkTokenizer,
    tiny_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ward:
    """A small fictional hospital with prepared chunks. Each test process has its own output.root:
    tests publish there."""
    from tests.ward import copy_ward, make_ward

    made = make_once(tmp_path_factory, "ward", partial(make_ward, spark, tokenizer, tiny_model))
    return copy_ward(spark, tiny_model, made, tmp_path_factory.mktemp("ward"))
