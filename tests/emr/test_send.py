"""Requests whose answer is lost, against a stand-in for EMR on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from readmit_spark.config import Config
from readmit_spark.emr import run
from readmit_spark.emr.send import send
from readmit_spark.errors import UserError
from tests.emr.conftest import request


class Emr(ThreadingHTTPServer):
    """An EMR of clusters with steps. lose: how it answers RunJobFlow and AddJobFlowSteps."""

    lose = "nothing"  # | answer: it closes the connection | fault: it answers 500
    forgets = False  # it does nothing, and then loses the answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.clusters: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        if operation == "RunJobFlow":
            name = f"j-{len(self.clusters) + 1}"
            if not self.forgets:
                self.clusters[name] = body
            return {"JobFlowId": name}
        if operation == "ListClusters":
            named = [{"Id": key, "Name": made["Name"]} for key, made in self.clusters.items()]
            return {"Clusters": named}
        steps = self.clusters[body.get("ClusterId") or body["JobFlowId"]]["Steps"]
        if operation == "DescribeCluster":
            made = self.clusters[body["ClusterId"]]
            status = {"State": "RUNNING"}
            return {"Cluster": {"Id": body["ClusterId"], "Status": status, "Tags": made["Tags"]}}
        if operation == "AddJobFlowSteps":
            first = len(steps) + 1
            steps += body["Steps"]
            return {"StepIds": [f"s-{n}" for n in range(first, len(steps) + 1)]}
        assert operation == "ListSteps"
        listed = [
            {"Id": f"s-{n}", "Config": {"Args": step["HadoopJarStep"]["Args"]}}
            for n, step in enumerate(steps, start=1)
        ]
        return {"Steps": listed[::-1]}


class Handler(BaseHTTPRequestHandler):
    server: Emr

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        answer = self.server.answer(operation, body)
        starts = operation in ("RunJobFlow", "AddJobFlowSteps")
        if starts and self.server.lose == "answer":
            self.close_connection = True
            return
        fault = starts and self.server.lose == "fault"
        self.send_response(500 if fault else 200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"__type": "InternalServerException"} if fault else answer).encode()
        )

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def emr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emr]:
    server = Emr()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_EMR", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    yield server
    server.shutdown()


def send_to(emr: Emr, config: Config, built: dict[str, Any]) -> Any:
    clients = run.clients(config)
    return send(clients.emr, clients.once, built, print, sleep=lambda seconds: None)


@pytest.mark.parametrize("lose", ["answer", "fault"])
def test_a_cluster_whose_answer_is_lost_is_found_and_not_started_again(
    emr: Emr, config: Config, lose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    send_to(emr, config, request(config, "score"))  # of the same name, an hour ago
    emr.lose = lose
    submitted = send_to(emr, config, request(config, "score"))
    assert emr.calls.count("RunJobFlow") == 2
    assert (submitted.cluster, submitted.ours) == ("j-2", True)
    assert "the answer of AWS was lost" in capsys.readouterr().out


@pytest.mark.parametrize("lose", ["answer", "fault"])
def test_steps_whose_answer_is_lost_are_found_and_not_added_again(
    emr: Emr, config: Config, lose: str
) -> None:
    cluster = send_to(emr, config, request(config, "prepare", keep=True)).cluster
    send_to(emr, config, request(config, "prepare", "score", cluster=cluster))
    emr.lose = lose
    submitted = send_to(emr, config, request(config, "score", "nightly", cluster=cluster))
    assert emr.calls.count("AddJobFlowSteps") == 2
    assert submitted.steps == ("s-4", "s-5")


def test_a_lost_request_without_a_trace_is_an_error_and_not_sent_again(
    emr: Emr, config: Config
) -> None:
    emr.lose, emr.forgets = "answer", True
    with pytest.raises(UserError, match="readmit-submission=readmit-5eed is not listed"):
        send_to(emr, config, request(config, "score", submission="readmit-5eed"))
    assert emr.calls.count("RunJobFlow") == 1


def test_reading_calls_are_repeated(emr: Emr, config: Config) -> None:
    """Only the two calls that start something are not."""
    assert run.clients(config).emr.meta.config.retries["total_max_attempts"] == 10
    assert run.clients(config).once.meta.config.retries["total_max_attempts"] == 1
