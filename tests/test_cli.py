"""Exit codes, error messages and arguments of the jobs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

import pytest

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress

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


@pytest.mark.parametrize("kind", [UserError, ValueError])
def test_no_password_of_a_url_is_printed(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: Config) -> None:
        Progress("job", 1).say(f"registered in {config.tracking.uri}")
        raise kind(f"{config.tracking.uri} does not answer")

    cli.run("job", "", main, [*LOCAL, "--set", "tracking.uri=https://ward:zqxpassword@mlflow/x"])
    cli.run("job", "", main, [*LOCAL, "--set", "tracking.url=https://ward:zqxpassword@mlflow/x"])
    printed = capsys.readouterr().err
    assert "registered in https://mlflow/x\n" in printed
    assert "https://mlflow/x does not answer" in printed
    assert "unknown key tracking.url in --set tracking.url=https://mlflow/x" in printed
    assert "zqxpassword" not in printed


def test_files_are_for_this_user_alone_while_a_job_runs() -> None:
    """TMPDIR is that of the job, also for its children."""
    modes: list[str] = []

    def main(config: Config) -> None:
        folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True).stdout[:-1])
        assert folder.parent == Path(tempfile.gettempdir())
        modes.append(oct(folder.parent.stat().st_mode & 0o777))
        umask = os.umask(0o022)
        os.umask(umask)
        modes.append(oct(umask))

    before = os.umask(0o022), os.environ.get("TMPDIR"), tempfile.gettempdir()
    assert cli.run("job", "", main, LOCAL) == 0
    assert cli.run("job", "", main, [*LOCAL, "--set", "output.group_readable=true"]) == 0
    assert modes == ["0o700", "0o77", "0o700", "0o27"]
    assert (os.umask(before[0]), os.environ.get("TMPDIR"), tempfile.gettempdir()) == (
        0o022,
        *before[1:],
    )


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


def test_a_job_names_all_that_is_missing_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: Config) -> None:
        raise AssertionError("the job has started")

    arguments = [
        *("--set", f"data.admissions={tmp_path}/A.csv", "--set", "data.notes=null"),
        *("--set", "data.patients=null", "--set", "output.root=null"),
    ]
    assert cli.run("prepare", "", main, arguments) == 2
    assert capsys.readouterr().err == (
        "prepare: output.root, data.notes are not set: give them in a config file or with "
        f"--set output.root=...; data.admissions: {tmp_path}/A.csv does not exist\n"
    )


def test_paths_of_other_machines_and_patterns_are_left_to_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"data.admissions": "s3://ward/A.csv", "data.notes": f"{tmp_path}/part-*.csv"}
    sets = [f"--set={k}={v}" for k, v in {**tables, "data.patients": "null"}.items()]
    assert cli.run("prepare", "", lambda config: None, sets) == 0
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))  # the default may be HDFS
    sets[1] = "--set=data.notes=/raw/none"
    assert cli.run("prepare", "", lambda config: None, sets) == 0


def test_several_files_of_overrides(tmp_path: Path) -> None:
    configs: list[Config] = []
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("vote: {c: 1}\nsplit: {seed: 1}")
    second.write_text("split: {seed: 2}")
    files = ["--config", str(first), "--config", str(second)]
    assert cli.run("job", "", configs.append, files) == 0
    assert (configs[0].vote.c, configs[0].split.seed) == (1.0, 2)
