"""A password in tracking.uri reaches the MLflow server, and no file and no line."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scoring.test_convert_checkpoint import random_weights, write_checkpoint
from tests.ward import run_program

pytestmark = pytest.mark.slow  # starts an MLflow server and four programs

PASSWORD = "zqxpassword"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Start an MLflow server with its files in tmp_path/server; yield its host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path / "server"
    folder.mkdir()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
        host.partition(":")[2], "--workers", "1", "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        while not _answers(f"http://{host}/health"):
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def test_a_password_is_in_no_file_and_no_line(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    checkpoint = write_checkpoint(tmp_path / "checkpoint", random_weights())
    out = f"output.root={tmp_path}/out"
    url = f"tracking.uri=http://ward:{PASSWORD}@{server}"
    missing = "model.path=models:/nobody@champion"
    lines = []
    for job, settings, arguments, code in (
        ("import_checkpoint", [url], [checkpoint], 0),
        ("score", [url, missing], [], 2),
        ("score", [f"tracking.uri=http://ward:{PASSWORD}@127.0.0.1:9", missing], [], 2),
        ("score", [f"tracking.uri=postgresql://ward:{PASSWORD}@127.0.0.1:9/x", missing], [], 1),
    ):
        done = run_program(job, [out, *settings], tmp_path, *arguments)
        lines.append(done.stdout + done.stderr)
        assert done.returncode == code, lines[-1]
    assert f"in http://{server}" in lines[0]
    assert "nobody@champion is not in the registry at http://" in lines[1]
    assert not [line for line in lines if PASSWORD in line]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if path.parent.name == "server" and path.suffix == ".db"]
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
