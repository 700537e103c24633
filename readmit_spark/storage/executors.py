"""Watch for executors on a cluster: say what a job waits for, and stop one that waits too long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import SparkSession

# conf/spark-emr-score.conf explains it. The default also serves clusters other than EMR.
_MINUTES_KEY, _MINUTES = "spark.readmit.executorWaitMinutes", "30"
_SECONDS_BETWEEN_LOOKS = 5.0
_FIRST_LINE, _NEXT_LINES = 60.0, 300.0  # seconds of waiting


@dataclass
class Waiting:
    """How long a job has had work for executors but no executor.

    limit: seconds after which it stops. nodes: what the executors need, in the words of a message.
    """

    limit: float
    nodes: str
    seconds: float = 0.0
    _said: float = 0.0

    def look(self, passed: float, waits: bool) -> str | None:
        """Count `passed` seconds if the job waits; return a line to print now and then."""
        if self.too_long:
            return None  # for good: the job is being stopped
        if not waits:
            self.seconds = self._said = 0.0
            return None
        self.seconds += passed
        due = self._said + _NEXT_LINES if self._said else _FIRST_LINE
        if self.seconds < due or self.too_long:
            return None
        self._said = self.seconds
        return (
            f"waiting for {self.nodes}: no executor for {self.seconds / 60:.0f} minutes; "
            f"the job stops after {self.limit / 60:.0f}"
        )

    @property
    def too_long(self) -> bool:
        return self.seconds >= self.limit

    @property
    def failure(self) -> str:
        """The line for the user when the job has stopped."""
        return (
            f"no executor for {self.limit / 60:g} minutes, so the job stopped: it needs "
            f"{self.nodes}, and none has joined the cluster or the last one has left; on EMR look "
            "at this fleet's events in the console: spot capacity, vCPU quota, bootstrap failures"
        )


class ExecutorWatch:
    """Watches a session in a thread while a job runs; does nothing in local mode.

    If stages are active and no executor is registered for too long, it cancels Spark's jobs. The
    job's call into Spark then fails, and `failure` is the reason to show.
    """

    def __init__(self, spark: SparkSession, say: Callable[[str], None]) -> None:
        self._spark, self._say = spark, say
        conf = spark.sparkContext.getConf()
        minutes = float(conf.get(_MINUTES_KEY, _MINUTES) or _MINUTES)
        gpus = conf.get("spark.executor.resource.gpu.amount") is not None
        nodes = (
            "a GPU node (fleet `gpu`, emr.gpu_nodes)" if gpus
            else "a CPU node (fleet `cpu`, emr.cpu_nodes)"
        )  # fmt: skip
        self._waiting = Waiting(minutes * 60, nodes)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        if (self._spark.sparkContext.master or "").split("[")[0] != "local":
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def failure(self) -> str | None:
        """The line for the user if the watch has stopped the job, else None."""
        return self._waiting.failure if self._waiting.too_long else None

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            line = self._waiting.look(_SECONDS_BETWEEN_LOOKS, self._waits())
            if line:
                self._say(line)
            if self._waiting.too_long:
                self._spark.sparkContext.cancelAllJobs()

    def _waits(self) -> bool:
        context = self._spark.sparkContext
        executors = len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1  # - the driver
        return executors == 0 and bool(context.statusTracker().getActiveStageIds())
