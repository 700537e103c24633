"""The real scorer with recorded events and injected faults. Runs on the executors.

Shipped with --py-files, because it is not part of the package.
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
    """Builds a scorer in a worker; equal builders share a model.

    events: folder of the recorded events. kind: the fault to inject, or "none".
    """

    events: str
    kind: str

    def __call__(self, settings: Any) -> Any:
        import readmit_spark
        from readmit_spark.scoring.score_chunks import build_scorer

        torch_import = _TorchImport()
        sys.meta_path.insert(0, torch_import)
        if self.kind == "bad-gpu" and node() == "b":
            settings = replace(settings, device="auto")  # torch on this machine sees no GPU
            (Path(self.events) / f"tried-{os.getpid()}").touch()
        scorer = build_scorer(settings)
        self.record(
            "built",
            torch_saw=torch_import.devices,
            cuda=os.environ["CUDA_VISIBLE_DEVICES"] if gpu() else None,
            package=readmit_spark.__file__,
            model=settings.model.folder(),
        )
        return _Watched(scorer, self)

    def record(self, what: str, **facts: Any) -> None:
        context = TaskContext.get()
        facts |= {"what": what, "node": node(), "executor": executor(), "pid": os.getpid(),
                  "gpu": gpu(), "task": context.partitionId(), "stage": context.stageId(),
                  "time": time.time()}  # fmt: skip
        path = Path(self.events) / f"{time.monotonic_ns()}-{os.getpid()}.json"
        path.with_suffix(".part").write_text(json.dumps(facts))
        path.with_suffix(".part").rename(path)

    def once(self, name: str) -> bool:
        """Return True for the first caller on any node."""
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
        build.record("task")
        if build.kind == "hold":
            go = Path(build.events) / "go"
            while not go.exists():
                time.sleep(0.05)
        if build.kind == "memory" and build.once("full"):
            build.record("full")
            # Leave room for half of the following allocation.
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
            bytearray(2**30)
        if build.kind == "memory" and build.once("killed"):
            build.record("killed")
            os.kill(
                os.getpid(), signal.SIGKILL
            )  # as the kernel does when a node runs out of memory
        yield from self.scorer.stream(batches)


class _TorchImport:
    """Import hook that records which GPUs are visible when torch is imported first."""

    devices: str | None = "imported before"

    def find_spec(self, name: str, *rest: object) -> None:
        if name == "torch":
            self.devices = os.environ.get("CUDA_VISIBLE_DEVICES")
            sys.meta_path.remove(self)


def gpu() -> str | None:
    resource_of_task = TaskContext.get().resources().get("gpu")
    return resource_of_task.addresses[0] if resource_of_task else None


def node() -> str:
    """Return the node's name: the folder above Spark's work, application and executor folders."""
    parts = Path.cwd().parts
    return parts[-4] if "work" in parts else "local"


def executor() -> str:
    return Path.cwd().name
