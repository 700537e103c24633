"""Starting a training in this process, or as one rank of many."""

from __future__ import annotations

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
from readmit_spark.training.finetune import finetune
from readmit_spark.training.optimisation import Log
from readmit_spark.training.plan import Plan, Trained
from readmit_spark.training.ranks import Ranks

Launch = Callable[[Plan, Log, Log], Trained]
"""(plan, record, say): trains; `record` gets every logged value, `say` those of now, for people."""


_FAILED = "failed-"


def alone(plan: Any, record: Log, say: Log, train: Callable[..., Any] = finetune) -> Any:
    """Trains in this process."""

    def log(values: dict[str, float], step: int, steps: int) -> None:
        record(values, step, steps)
        say(values, step, steps)

    return train(plan, Ranks.alone(), log)


def one_rank(plan: Any, train: Callable[..., Any]) -> Any:
    """train(plan, ranks, log) as the rank that torchrun made this process. The first one prints
    what it logs.

    What goes wrong is written down under `plan.work`, for the driver: its own error is seen
    nowhere else. A user's mistake ends a repeated attempt at once.
    """
    store, ranks = FileStore(plan.work), None
    try:
        if before := [f for f in failures(plan.work) if f["mistake"]]:
            raise UserError(before[0]["message"])
        ranks = Ranks.join()
        with _local_model(plan.model) as model:
            return train(replace(plan, model=model), ranks, _say)
    except BaseException as error:
        mistake = isinstance(error, UserError)
        failure = {
            "rank": ranks.rank if ranks else None,
            "mistake": mistake,
            # The others only notice that somebody went away.
            "secondary": not mistake and _lost_touch(error),
            "message": str(error) if mistake else f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc(),
        }
        store.write_json(f"{_FAILED}{socket.gethostname()}-{os.getpid()}.json", failure)
        raise
    finally:
        if ranks:
            ranks.leave()


def failures(work: str) -> list[dict[str, Any]]:
    """What the ranks wrote down, causes before consequences."""
    store = FileStore(work)
    found = [store.read_json(name) for name in store.names() if name.startswith(_FAILED)]
    return sorted(found, key=lambda failure: (not failure["mistake"], failure["secondary"]))


def forget_failures(work: str) -> None:
    """Before a new attempt."""
    store = FileStore(work)
    for name in store.names():
        if name.startswith(_FAILED):
            store.delete(name)


def shared_model(plan: Any) -> Any:
    """The plan with its model copied to where every machine can read it."""
    target, path = filesystem_of(f"{plan.work}/model")
    target.create_dir(path, recursive=True)
    fs.copy_files(plan.model, path, fs.LocalFileSystem(), target)
    return replace(plan, model=f"{plan.work}/model")


def line(values: dict[str, float], step: int, steps: int) -> str:
    """`step 10/200: train_loss 0.52`"""
    shown = ("train_loss", "validation_loss", "validation_auroc", "mlm_accuracy", "nsp_accuracy")
    return f"step {step}/{steps}: " + ", ".join(
        f"{name} {value:.3f}" for name, value in values.items() if name in shown
    )


def _say(values: dict[str, float], step: int, steps: int) -> None:
    # TorchDistributor relays a process's stdout to the driver's.
    print(f"training: {line(values, step, steps)}", file=sys.stdout, flush=True)


def _lost_touch(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        sign in text for sign in ("gloo", "NCCL", "Connection closed", "Connection reset", "c10d")
    )


@contextmanager
def _local_model(folder: str) -> Iterator[str]:
    """The folder on this machine, fetched where it is not on a disk that all of them have."""
    if Path(folder).is_dir():
        yield folder
        return
    source, path = filesystem_of(folder)
    with tempfile.TemporaryDirectory(prefix="readmit-model-") as here:
        fs.copy_files(path, here, source, fs.LocalFileSystem())
        yield here
