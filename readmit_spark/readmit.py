"""The command `readmit`: the jobs by name, and `init`, `check`, `run` and `night`."""

from __future__ import annotations

import argparse
import difflib
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress

_COMMANDS = {
    "init": "look at your tables and write a configuration",
    "check": "this machine, the tables and what will be too few: seconds, without Spark",
    "run": "prepare, finetune, score and audit, in one process; what is still valid is skipped",
    "night": "jobs/nightly.py, --as-of now unless another time is given",
}
_CHECK = "Check this machine and the tables of the configuration, in seconds and without Spark."
_RUN = "Go from tables to a report: prepare, finetune, score and audit, in one process."
# In the clone; a package that was built of it carries them inside.
_JOBS = next(
    folder
    for folder in (Path(__file__).parents[1] / "jobs", Path(__file__).parent / "jobs")
    if folder.is_dir()
)


def main() -> int:
    """Run the command of `sys.argv` and return the exit code, see `cli.run`."""
    command, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    jobs = sorted(path.stem for path in _JOBS.glob("*.py"))
    if command in ("-h", "--help"):
        print(_help(jobs))
        return cli.OK
    if command == "init":
        return _init(arguments)
    if command == "check":
        return cli.run("check", _CHECK, _check, arguments)
    if command == "run":
        return cli.run("run", _RUN, run_all, arguments)
    if command == "night":
        command = "nightly"
        if not any(a == "--as-of" or a.startswith("--as-of=") for a in arguments):
            arguments = [*arguments, "--as-of", "now"]
    if command not in jobs:
        near = difflib.get_close_matches(command, [*_COMMANDS, *jobs], n=1)
        hint = f"did you mean {near[0]}?" if near else "readmit --help lists all"
        print(f"readmit: there is no command {command}; {hint}", file=sys.stderr)
        return cli.USER_ERROR
    return _start(command, arguments)


def run_all(config: Config) -> int:
    """Run the four jobs of the report, each unless its result is still valid.

    Return the exit code: 3 if the audit finds a leak.
    """
    from readmit_spark.notes.made_of import is_prepared
    from readmit_spark.scoring.model import resolve_model
    from readmit_spark.storage.manifests import Prepared
    from readmit_spark.storage.session import build_session
    from readmit_spark.training.finetune_job import is_finetuned

    progress = Progress("run", 4)
    model = resolve_model(config)
    tokenizer = model.tokenizer(config.model.max_tokens)
    with progress.stage("prepare"):
        if is_prepared(build_session("run"), config, tokenizer):
            progress.say("the tables are those of these files and settings: not made again")
        else:
            _job("prepare")(config)
    with progress.stage("finetune"):
        prepared = Prepared.read(build_session("run"), config.output_root)
        if is_finetuned(config, model, prepared):
            progress.say("a model was trained with these chunks and settings: not trained again")
        else:
            _job("finetune")(config, keep_session=True)
    with progress.stage("score"):
        _job("score")(config)
    with progress.stage("audit"):
        code: int = _job("audit")(config)
    progress.say(f"read {config.output_root}/report.html; a list of patients: readmit night")
    return code


def _check(config: Config) -> int:
    from readmit_spark.start.check import check

    findings = check(config, os.environ)
    for finding in findings:
        print(finding)
    missing = any(finding.state == "missing" for finding in findings)
    return cli.USER_ERROR if missing else cli.OK


def _init(arguments: Sequence[str]) -> int:
    from readmit_spark.start.init import write_configuration, write_ingest_configuration

    parser = argparse.ArgumentParser(
        prog="readmit init", description="Look at your tables and write a configuration."
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the configuration to write (.yaml)"
    )
    parser.add_argument("--admissions", help="ADMISSIONS: .csv, .csv.gz or Parquet")
    parser.add_argument("--notes", help="NOTEEVENTS: .csv, .csv.gz or Parquet")
    parser.add_argument("--patients", help="PATIENTS (optional)")
    parser.add_argument(
        "--format", help="of other tables: mimic4, fhir, omop or a mapping FILE.yaml"
    )
    parser.add_argument("--folder", help="with --format: the folder with its tables")
    parser.add_argument("--out", required=True, help="folder for all results, of its own")
    given = parser.parse_args(arguments)
    tables, other = (given.admissions, given.notes), (given.format, given.folder)
    if not (all(tables) and not any(other)) and not (all(other) and not any(tables)):
        parser.error("give --admissions and --notes, or --format and --folder")
    today = datetime.now().date()
    try:
        if all(other):
            write_ingest_configuration(given.file, *other, given.out)
        else:
            write_configuration(given.file, *tables, given.patients, given.out, today)
    except UserError as error:
        print(f"init: {error}", file=sys.stderr)
        return cli.USER_ERROR
    print(f"wrote {given.file}; next: readmit check --config {given.file}")
    return cli.OK


def _job(name: str) -> Callable[..., Any]:
    """Return `main` of jobs/NAME.py."""
    main: Callable[..., Any] = runpy.run_path(str(_JOBS / f"{name}.py"))["main"]
    return main


def _start(job: str, arguments: Sequence[str]) -> int:
    """Run jobs/JOB.py as a program, in this process; return its exit code."""
    program = str(_JOBS / f"{job}.py")
    sys.argv = [program, *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else cli.FAILED
    return cli.OK


def _help(jobs: Sequence[str]) -> str:
    shown = {**_COMMANDS, **{job: _first_line(job) for job in jobs if job not in _COMMANDS}}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {line}" for name, line in shown.items()]
    usage = "usage: readmit COMMAND [--config FILE] [--set SECTION.KEY=VALUE] ..."
    return "\n".join([usage, "", *lines, "", "readmit COMMAND --help shows its arguments"])


def _first_line(job: str) -> str:
    """Return the first line of a job's docstring, without importing what the job imports."""
    return (_JOBS / f"{job}.py").read_text(encoding="utf-8").splitlines()[0].strip('"')
