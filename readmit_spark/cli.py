"""What every job does around its one call: arguments, configuration, exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime

from readmit_spark.config_file import base_yaml, load_config
from readmit_spark.errors import UserError
from readmit_spark.storage.aws_errors import failure_of

OK, FAULT, MISTAKE, INTERRUPTED = 0, 1, 2, 130

# Libraries that would draw bars over the job's own lines, or call home.
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
}

# A worker's exception reaches the driver as the text of its trace.
_MISTAKE_IN_A_WORKER = re.compile(r"^readmit_spark\.errors\.UserError: (.*)$", re.MULTILINE)


def run(
    job: str,
    what: str,
    call: Callable[..., object],
    argv: Sequence[str],
    arguments_of: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:
    """Runs `call(config)` and gives the exit code: 0, 2 for a user's mistake, 1 for a fault, 130
    for Ctrl-C.

    `arguments_of` adds a job's own arguments; the parsed ones are then passed to `call` as well. An
    int that `call` returns is the exit code.
    """
    parser = _parser(job, what)
    if arguments_of:
        arguments_of(parser)
    arguments = parser.parse_args(argv)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        config = load_config(arguments.config, arguments.set)
        result = call(config, arguments) if arguments_of else call(config)
    except UserError as error:
        return _mistake(f"{job}: {error}")
    except KeyboardInterrupt:
        print(f"{job}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        mistake = _MISTAKE_IN_A_WORKER.search(str(error))
        if mistake:
            return _mistake(f"{job}: {mistake.group(1)}")
        failure = failure_of(error)
        if failure:
            _mistake(f"{job}: {failure.message}")
            return FAULT if failure.passing else MISTAKE
        print(f"{job}: a fault, not a mistake of yours; its trace:", file=sys.stderr)
        traceback.print_exc()
        return FAULT
    return result if isinstance(result, int) else OK


def hospital_time(text: str) -> datetime:
    """--as-of as the hospital's own time, to the second; UserError where it is none, or zoned."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--as-of {text}: write it as 2026-11-22T02:00:00") from None
    if time.tzinfo is not None:
        raise UserError(f"--as-of {text}: the hospital's own time, without a zone")
    return time.replace(microsecond=0)


def _mistake(line: str) -> int:
    """Says the line on stderr. spark-submit pours a program's stderr into its own stdout; what is
    to be on stderr there goes through its Java."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        from pyspark.java_gateway import launch_gateway

        launch_gateway().jvm.System.err.println(line)
    else:
        print(line, file=sys.stderr)
    return MISTAKE


def _parser(job: str, what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"jobs/{job}.py",
        description=what,
        epilog="Keys, their defaults and what they mean:\n\n" + base_yaml(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default="conf/local.yaml",
        help="YAML with overrides of the keys below (default: conf/local.yaml)",
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="one override, read as YAML; may be given many times and wins over the file",
    )
    return parser
