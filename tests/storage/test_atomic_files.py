"""Checkpoints and small files on a local disk and on S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.training.checkpoints import Checkpoints, TrainingState


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on an S3 server of this module."""
    moto = pytest.importorskip("moto.server", reason="moto provides the S3 server")
    import boto3

    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="trainings")
        yield "s3://trainings"
    server.stop()


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return f"{tmp_path}/work"
    return f"{request.getfixturevalue('bucket')}/{request.node.name.partition('[')[0]}"


def test_state_and_best_weights_of_a_training_are_restored(folder: str) -> None:
    layer, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    checkpoints = Checkpoints(folder)
    assert checkpoints.load({"layer": layer}, "cpu") == TrainingState()
    first = TrainingState(step=4, best_step=4, best_auroc=0.7, history=[(4, {"train_loss": 0.5})])
    checkpoints.save_best(first, layer)
    checkpoints.save(first, {"layer": layer})
    best_weight = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1
    FileStore(folder).write_json("step-7.pt.new", "of a killed process")
    second = TrainingState(step=8, best_step=4, best_auroc=0.7, stale=1, history=first.history)
    checkpoints.save(second, {"layer": layer})
    assert FileStore(folder).names() == ["best-4.pt", "latest.json", "step-8.pt"]
    assert Checkpoints(folder).load({"layer": other}, "cpu") == second
    assert torch.equal(other.weight, layer.weight)
    checkpoints.load_best(second, other, "cpu")
    assert torch.equal(other.weight, best_weight)


def test_small_files_are_written_read_replaced_and_deleted(folder: str) -> None:
    store = FileStore(folder)
    assert store.names() == [] and store.read_json("a.json") is None
    store.write_json("a.json", [1])
    store.write_json("a.json", {"b": 2})
    assert FileStore(folder).read_json("a.json") == {"b": 2}
    store.delete("a.json")
    store.delete("a.json")
    assert not store.has("a.json")
    with pytest.raises(FileNotFoundError):
        store.read("a.json", lambda file: file.read())
    store.write_json("c.json", 3)
    store.remove()
    store.remove()
    assert store.names() == []


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", fsync)
    FileStore(f"{tmp_path}/work").write_json("a.json", 1)
    assert synced == ["a.json.new", "work"]


def test_a_failed_write_leaves_the_previous_file(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.write_json("a.json", 1)

    def fail(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.write("a.json", fail)
    assert store.read_json("a.json") == 1
