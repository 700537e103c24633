"""Command line of the jobs: arguments, configuration, error messages and exit codes."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.config_file import base_yaml, load_config
from readmit_spark.early_checks import check_early, has_results
from readmit_spark.errors import UserError
from readmit_spark.storage.aws_errors import find_aws_failure
from readmit_spark.storage.disk_errors import find_disk_failure
from readmit_spark.storage.scratch import make_scratch
from readmit_spark.urls import without_secrets

# Exit codes.
OK, FAILED, USER_ERROR, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

# Turn off progress bars and links, which would disturb the job's own lines, and telemetry.
_QUIET_LIBRARIES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with the password in it
    "TOKENIZERS_PARALLELISM": "false",
}

# An exception in a Spark worker reaches the driver as the text of its stack trace.
_USER_ERROR_IN_WORKER = re.compile(r"^readmit_spark\.errors\.UserError: (.*)$", re.MULTILINE)


def run(
    job: str,
    description: str,
    main: Callable[..., object],
    argv: Sequence[str],
    add_arguments: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:
    """Parse `argv`, load the configuration, call `main(config)` and return the exit code.

    Exit codes: 0 on success, 1 for a failure, 2 for a mistake of the user, 130 after Ctrl-C. If
    `main` returns an int, that is the exit code: 3 for a check that failed.

    `add_arguments` adds the job's own arguments to the parser; `main(config, arguments)` is then
    called with the parsed arguments.
    """
    parser = _parser(job, description)
    if add_arguments:
        add_arguments(parser)
    arguments = parser.parse_args(argv)
    for name, value in _QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    try:
        config = load_config(arguments.config or _default_files(), arguments.set)
        check_early(job, config, local="HADOOP_CONF_DIR" not in os.environ)
        with _private_files(config.output.group_readable):
            result = main(config, arguments) if add_arguments else main(config)
            if has_results(job):
                _write_index(config)
    except UserError as error:
        _print_error(f"{job}: {error}")
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"{job}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return _report(job, error)
    return result if isinstance(result, int) else OK


def _write_index(config: Config) -> None:
    """Write index.html at output.root, if this program has a Spark session."""
    if config.output.root and "pyspark" in sys.modules:
        from pyspark.sql import SparkSession

        from readmit_spark.pages.index_page import write_index
        from readmit_spark.storage.files import open_files

        session = SparkSession.getActiveSession()
        if session is not None:
            write_index(open_files(session, config.output_root))


def _default_files() -> list[Path]:
    """Return conf/local.yaml of the clone, wherever the job is started; [] where there is none."""
    local = Path(__file__).parents[1] / "conf" / "local.yaml"
    return [local] if local.exists() else []


@contextmanager
def _private_files(group_readable: bool) -> Iterator[None]:
    """Let only this user read what this process and its children write.

    group_readable: the group may read it too, except for temporary files, whose folder is private.
    """
    umask = os.umask(0o027 if group_readable else 0o077)
    scratch = make_scratch(Path(tempfile.gettempdir()))
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch.path)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        tempfile.tempdir = before[1]
        scratch.remove()
        os.umask(umask)


def parse_as_of(text: str) -> datetime:
    """Parse the value of --as-of: a local time of the hospital, cut to whole seconds.

    Raise a UserError if `text` is not an ISO time or has a time zone.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--as-of {text}: write it as 2026-11-22T02:00:00") from None
    if time.tzinfo is not None:
        raise UserError(f"--as-of {text}: give the hospital's local time without a time zone")
    return time.replace(microsecond=0)


def _report(job: str, error: Exception) -> int:
    """Print an exception and return the exit code: in one line if its cause is known."""
    user_error = _USER_ERROR_IN_WORKER.search(str(error))
    if user_error:
        _print_error(f"{job}: {user_error.group(1)}")
        return USER_ERROR
    failure = find_aws_failure(error)
    if failure:
        _print_error(f"{job}: {failure.message}")
        return FAILED if failure.temporary else USER_ERROR
    disk_failure = find_disk_failure(error)
    if disk_failure:
        _print_error(f"{job}: {disk_failure}")
        return USER_ERROR
    print(f"{job}: internal error, not a mistake in your input; stack trace:", file=sys.stderr)
    print(without_secrets(traceback.format_exc()), file=sys.stderr, end="")
    return FAILED


def _print_error(line: str) -> None:
    """Print `line` to stderr, without passwords in URLs.

    spark-submit redirects the stderr of a Python program to its own stdout; lines printed by its
    Java process do reach stderr.
    """
    line = without_secrets(line)
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        from pyspark.java_gateway import launch_gateway

        launch_gateway().jvm.System.err.println(line)
    else:
        print(line, file=sys.stderr)


def _parser(job: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"readmit {job}" if job in ("check", "run") else f"jobs/{job}.py",
        description=description,
        epilog="Configuration keys with their defaults:\n\n" + base_yaml(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        help="YAML file that overrides the keys below (default: conf/local.yaml); repeatable, and "
        "later files take precedence",
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="override one key (value read as YAML); repeatable; takes precedence over --config",
    )
    return parser
