"""Exit codes and what is said on stderr."""

from __future__ import annotations

import pytest

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError

LOCAL = ["--config", "conf/local.yaml"]


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(request.config.rootpath)


def test_success_is_0_and_the_call_gets_the_configuration() -> None:
    seen: list[Config] = []
    assert cli.run("job", "", seen.append, [*LOCAL, "--set", "seed=3", "--set", "vote.c=1"]) == 0
    assert (seen[0].seed, seen[0].vote.c) == (3, 1.0)


def test_a_mistake_is_2_with_one_line_and_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def call(config: Config) -> None:
        raise UserError("data.notes: x.csv does not exist")

    assert cli.run("job", "", call, LOCAL) == 2
    assert capsys.readouterr().err == "job: data.notes: x.csv does not exist\n"


def test_a_fault_is_1_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def call(config: Config) -> None:
        raise ZeroDivisionError

    assert cli.run("job", "", call, LOCAL) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_found_in_a_worker_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    def call(config: Config) -> None:
        raise RuntimeError(
            "Traceback ...\nreadmit_spark.errors.UserError: model.path: no\n\n\tat x"
        )

    assert cli.run("job", "", call, LOCAL) == 2
    assert capsys.readouterr().err == "job: model.path: no\n"


def test_help_lists_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run("job", "what it does", lambda config: None, ["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "what it does" in shown
    assert "max_probability_shift: 0.02" in shown
