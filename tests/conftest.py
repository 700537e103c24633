from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most tests need neither Spark nor torch, and importing them takes seconds
    import numpy as np
    from pyspark.sql import SparkSession

    from readmit_spark.notes.tokenizer import ChunkTokenizer
    from tests.ward import Ward


@pytest.fixture(scope="session")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session writes its event log."""
    return tmp_path_factory.mktemp("event_log")


@pytest.fixture(scope="session")
def spark(event_log: Path) -> Iterator[SparkSession]:
    from readmit_spark.storage.session import build_session

    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.rolling.enabled": "false",  # one plain file on either Spark line
        "spark.eventLog.dir": event_log.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.sql.shuffle.partitions": "2",  # the data are tiny: a task costs more than its rows
        "spark.default.parallelism": "2",
    }
    options = " ".join(f"--conf {key}={value}" for key, value in settings.items())
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{options} pyspark-shell"
    session = build_session("tests")
    del os.environ["PYSPARK_SUBMIT_ARGS"]
    yield session
    session.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, which this process's and its children's S3
    clients talk to from now on. It holds one bucket, `ward`."""
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
    """s3://ward, empty after the test."""
    import boto3

    yield "s3://ward"
    boto3.resource("s3").Bucket("ward").objects.all().delete()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random BERT of one logit and its tokenizer."""
    from tests.tiny import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def tokenizer(tiny_model: str) -> ChunkTokenizer:
    from readmit_spark.scoring.load_tokenizer import load_tokenizer

    return load_tokenizer(tiny_model, 128)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The models are so small that a second thread is only waited for."""
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
    """A small invented hospital, prepared once for the tests of what is made of prepared chunks."""
    from tests.ward import make_ward

    return make_ward(spark, tokenizer, tiny_model, tmp_path_factory.mktemp("ward"))
