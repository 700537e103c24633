"""The command of an EMR step, run here with stand-ins for spark-submit and yarn."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from readmit_spark.config import Config
from readmit_spark.emr.steps import STEP_SCRIPT
from tests.emr.conftest import configured, request
from tests.emr.test_request import submitted


def run_step(folder: Path, limit: str, spark_submit: str) -> tuple[int, str, list[str]]:
    """Return exit code, stderr, and the applications that yarn was told to end."""
    for name, body in (
        ("spark-submit", spark_submit),
        (
            "yarn",
            f'echo "$*" >> {folder}/calls\n'
            'if [ "$2" = -list ]; then echo "Total 2\napplication_17_1 readmit-score http://x/'
            'application_17_1/\napplication_17_2 x"; fi',
        ),
    ):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", STEP_SCRIPT, "readmit", limit, "readmit-5eed-score", "spark-submit", "a b"],
        capture_output=True, text=True, env={"PATH": f"{folder}:/usr/bin:/bin"},
    )  # fmt: skip
    calls = folder / "calls"
    return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []


def test_a_step_that_completes_ends_nothing(tmp_path: Path) -> None:
    assert run_step(tmp_path, "1h", '[ "$1" = "a b" ]') == (0, "", [])


def test_a_step_that_fails_keeps_its_exit_code(tmp_path: Path) -> None:
    code, _, calls = run_step(tmp_path, "1h", "exit 3")
    assert code == 3
    assert calls[0] == "application -list -appTags readmit-5eed-score"


def test_a_step_that_hangs_is_ended_with_its_applications(tmp_path: Path) -> None:
    start = time.monotonic()
    code, error, calls = run_step(tmp_path, "1s", "exec sleep 60")
    assert time.monotonic() - start < 30
    assert code == 124 and "stopped after 1s, the limit of emr.max_hours" in error
    assert calls[1:] == ["application -kill application_17_1", "application -kill application_17_2"]


@pytest.mark.parametrize("cluster", [None, "j-2AXXXXXXGAPLF"])
def test_every_step_has_a_limit_and_a_tag_of_its_own(cluster: str | None) -> None:
    built = request(
        configured("emr.max_hours=4"),
        "prepare",
        "score",
        cluster=cluster,
        submission="readmit-5eed",
    )
    for step, job in zip(built["Steps"], ("prepare", "score"), strict=True):
        args = step["HadoopJarStep"]["Args"]
        assert args[:6] == ["bash", "-c", STEP_SCRIPT, "readmit", "4h", f"readmit-5eed-{job}"]
        assert submitted(step)[0]["spark.yarn.tags"] == args[5]


def test_two_orders_have_different_tags(config: Config) -> None:
    tags = {request(config)["Steps"][0]["HadoopJarStep"]["Args"][5] for _ in range(2)}
    assert len(tags) == 2
