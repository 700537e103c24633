"""Runs on the executors: the real scorer, which says where it is and to which faults can happen.

Shipped with --py-files, as it is no part of the package.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark import TaskContext


@dataclass(frozen=True)
class Build:
    """Equal ones share a model, as settings do. events: a folder; kind: which fault, or none."""

    events: str
    kind: str

    def __call__(self, settings: Any) -> Any:
        import readmit_spark
        from readmit_spark.scoring.score_chunks import build_scorer

        seen = _WhenTorchComes()
        sys.meta_path.insert(0, seen)
        if self.kind == "bad-gpu" and node() == "b":
            settings = replace(settings, device="auto")  # this machine's torch does see no GPU
            (Path(self.events) / f"tried-{os.getpid()}").touch()
        scorer = build_scorer(settings)
        self.say(
            "built",
            torch_saw=seen.devices,
            cuda=os.environ["CUDA_VISIBLE_DEVICES"] if gpu() else None,
            package=readmit_spark.__file__,
            model=settings.model.folder(),
        )
        return _Watched(scorer, self)

    def say(self, what: str, **facts: Any) -> None:
        context = TaskContext.get()
        facts |= {"what": what, "node": node(), "executor": executor(), "pid": os.getpid(),
                  "gpu": gpu(), "task": context.partitionId(), "stage": context.stageId(),
                  "time": time.time()}  # fmt: skip
        path = Path(self.events) / f"{time.monotonic_ns()}-{os.getpid()}.json"
        path.with_suffix(".part").write_text(json.dumps(facts))
        path.with_suffix(".part").rename(path)

    def once(self, name: str) -> bool:
        """True for the first caller on any node."""
        try:
            (Path(self.events) / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class _Watched:
    def __init__(self, scorer: Any, build: Build) -> None:
        self.scorer, self.build = scorer, build
        self.backend = scorer.backend

    def stream(self, batches: Any) -> Iterator[Any]:
        build = self.build
        build.say("task")
        if build.kind == "hold":
            go = Path(build.events) / "go"
            while not go.exists():
                time.sleep(0.05)
        if build.kind == "memory" and build.once("full"):
            build.say("full")
            # Room for half of what is then asked for.
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
            bytearray(2**30)
        if build.kind == "memory" and build.once("killed"):
            build.say("killed")
            os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does when a node's memory ends
        yield from self.scorer.stream(batches)


class _WhenTorchComes:
    """In sys.meta_path: which GPUs were visible when torch was first looked for."""

    devices: str | None = "imported before"

    def find_spec(self, name: str, *rest: object) -> None:
        if name == "torch":
            self.devices = os.environ.get("CUDA_VISIBLE_DEVICES")
            sys.meta_path.remove(self)


def gpu() -> str | None:
    found = TaskContext.get().resources().get("gpu")
    return found.addresses[0] if found else None


def node() -> str:
    """The node's name: below it are Spark's "work", the application and the executor."""
    parts = Path.cwd().parts
    return parts[-4] if "work" in parts else "local"


def executor() -> str:
    return Path.cwd().name
