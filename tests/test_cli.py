"""Exit codes, error messages and arguments of the jobs."""

from __future__ import annotations

from datetime import datetime

import pytest

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError

LOCAL = ["--config", "conf/local.yaml"]


@pytest.fixture(autouse=True)
def run_in_the_clone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(request.config.rootpath)


def test_success_is_0_and_main_gets_the_configuration() -> None:
    configs: list[Config] = []
    assert (
        cli.run("job", "", configs.append, [*LOCAL, "--set", "split.seed=3", "--set", "vote.c=1"])
        == 0
    )
    assert (configs[0].split.seed, configs[0].vote.c) == (3, 1.0)


def test_a_user_error_is_2_with_one_line_and_no_stack_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(config: Config) -> None:
        raise UserError("data.notes: x.csv does not exist")

    assert cli.run("job", "", main, LOCAL) == 2
    assert capsys.readouterr().err == "job: data.notes: x.csv does not exist\n"


def test_another_exception_is_1_with_its_stack_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config) -> None:
        raise ZeroDivisionError

    assert cli.run("job", "", main, LOCAL) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_user_error_in_a_worker_is_a_user_error(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config) -> None:
        raise RuntimeError(
            "Traceback ...\nreadmit_spark.errors.UserError: model.path: no\n\n\tat x"
        )

    assert cli.run("job", "", main, LOCAL) == 2
    assert capsys.readouterr().err == "job: model.path: no\n"


def test_help_shows_description_and_configuration_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.run("job", "what it does", lambda config: None, ["--help"])
    assert exit.value.code == 0
    help_text = capsys.readouterr().out
    assert "what it does" in help_text
    assert "max_probability_shift: 0.02" in help_text


def test_own_arguments_are_passed_to_main_and_its_int_is_the_exit_code() -> None:
    code = cli.run(
        "job",
        "",
        lambda config, arguments: int(arguments.number),
        [*LOCAL, "--number", "7"],
        lambda parser: parser.add_argument("--number"),
    )
    assert code == 7


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Config) -> None:
        raise KeyboardInterrupt

    assert cli.run("job", "", main, LOCAL) == 130
    assert capsys.readouterr().err == "job: interrupted\n"


def test_as_of_is_a_local_time_in_whole_seconds() -> None:
    assert cli.parse_as_of("2026-11-22T02:00:00.75") == datetime(2026, 11, 22, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tonight", "--as-of tonight: write it as 2026-11-22T02:00:00"),
        ("2026-11-22T02:00:00Z", "local time without a time zone"),
        ("2026-11-22T02:00:00+01:00", "local time without a time zone"),
    ],
)
def test_another_as_of_is_a_user_error(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cli.parse_as_of(text)
