"""One training process (rank) of several: fetch the model, train, record errors for the driver."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyarrow import fs

from readmit_spark.errors import UserError
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.storage.s3 import filesystem_of
from readmit_spark.training.loop import progress_line
from readmit_spark.training.ranks import Ranks

_FAILURE = "failed-"  # prefix of the files in which ranks record their errors


def run_rank_process(plan: Any, train: Callable[..., Any]) -> Any:
    """Run `run_rank` as all that this process does: torchrun calls it in a process of its own.

    After a success the process ends without the clean-up of the C libraries. Threads of gloo can
    still hold tensors then, and now and then one aborts the process. torchrun takes that for a
    failed training and waits five minutes for the other ranks.
    """
    trained = run_rank(plan, train)
    atexit.register(_end_at_once)
    return trained


def run_rank(plan: Any, train: Callable[..., Any]) -> Any:
    """Run train(plan, ranks, log) as the rank that torchrun assigned to this process.

    The first rank prints what it logs. An error is recorded in `plan.checkpoint_folder`, because
    the driver cannot see it otherwise. If an earlier attempt ended with a UserError, raise it again
    at once.
    """
    store, ranks = FileStore(plan.checkpoint_folder), None
    try:
        mistakes = [f for f in read_failures(plan.checkpoint_folder) if f["mistake"]]
        if mistakes:
            raise UserError(mistakes[0]["message"])
        ranks = Ranks.join()
        with _local_model(plan.start_model) as model:
            return train(replace(plan, start_model=model), ranks, _print_log)
    except BaseException as error:
        mistake = isinstance(error, UserError)
        failure = {
            "rank": ranks.rank if ranks else None,
            "mistake": mistake,
            # This rank only lost its connection to the one that failed.
            "secondary": not mistake and _lost_connection(error),
            "message": str(error) if mistake else f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc(),
        }
        store.write_json(f"{_FAILURE}{socket.gethostname()}-{os.getpid()}.json", failure)
        raise
    finally:
        if ranks:
            ranks.leave()


def read_failures(checkpoint_folder: str) -> list[dict[str, Any]]:
    """Return the errors that ranks recorded, causes before consequences."""
    store = FileStore(checkpoint_folder)
    failures = [store.read_json(name) for name in store.names() if name.startswith(_FAILURE)]
    return sorted(failures, key=lambda failure: (not failure["mistake"], failure["secondary"]))


def delete_failures(checkpoint_folder: str) -> None:
    """Delete the recorded errors; call before a new attempt."""
    store = FileStore(checkpoint_folder)
    for name in store.names():
        if name.startswith(_FAILURE):
            store.delete(name)


def copy_model(plan: Any) -> Any:
    """Copy the start model to the checkpoint folder, which every machine can read; return the
    plan that uses the copy."""
    target, path = filesystem_of(f"{plan.checkpoint_folder}/model")
    target.create_dir(path, recursive=True)
    fs.copy_files(plan.start_model, path, fs.LocalFileSystem(), target)
    return replace(plan, start_model=f"{plan.checkpoint_folder}/model")


def _end_at_once() -> None:
    """End this process with exit code 0, unless an error ended it."""
    if hasattr(sys, "last_value"):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _print_log(values: dict[str, float], step: int, steps: int) -> None:
    # TorchDistributor copies the stdout of each process to the driver's.
    print(f"training: {progress_line(values, step, steps)}", file=sys.stdout, flush=True)


def _lost_connection(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("gloo", "NCCL", "Connection closed", "Connection reset", "c10d")
    )


@contextmanager
def _local_model(folder: str) -> Iterator[str]:
    """Yield the folder if it is a local one, else a temporary copy of it."""
    if Path(folder).is_dir():
        yield folder
        return
    source, path = filesystem_of(folder)
    with tempfile.TemporaryDirectory(prefix="readmit-model-") as copy:
        fs.copy_files(path, copy, source, fs.LocalFileSystem())
        yield copy
