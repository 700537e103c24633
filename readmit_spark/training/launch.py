"""Run a training where the configuration says: in this process, or on several through Spark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.training import rank_process
from readmit_spark.training.finetune import finetune
from readmit_spark.training.loop import Log
from readmit_spark.training.ranks import Ranks

Launch = Callable[[Any, Log, Log], Any]
"""launch(plan, record, say) trains and returns the result, such as `Trained`.

`record` receives every logged value, also those from before a restart. `say` shows values to
people; with several processes the first rank prints them instead.
"""

# Error classes of Spark's barrier stages.
_TOO_FEW_SLOTS, _DYNAMIC_ALLOCATION = "SPARK-24819", "SPARK-24942"


def choose_launch(
    spark: SparkSession | None, processes: int, train: Callable[..., Any] = finetune
) -> Launch:
    """Return how to run train(plan, ranks, log): here for one process, else through `spark`."""
    if processes == 1:
        return lambda plan, record, say: train_here(plan, record, say, train)
    assert spark is not None  # the job stops its session only if there is one process
    return lambda plan, record, _: train_on_ranks(spark, processes, plan, record, train)


def train_here(plan: Any, record: Log, say: Log, train: Callable[..., Any] = finetune) -> Any:
    """Run train(plan, ranks, log) in this process and return its result."""

    def log(values: dict[str, float], step: int, steps: int) -> None:
        record(values, step, steps)
        say(values, step, steps)

    return train(plan, Ranks.alone(), log)


def train_on_ranks(
    spark: SparkSession, processes: int, plan: Any, record: Log, train: Callable[..., Any]
) -> Any:
    """Run train(plan, ranks, log) in several processes; record and return the first one's result.

    Raises the error of the rank that failed: a UserError as such, others as a RuntimeError with
    the rank's traceback.
    """
    rank_process.delete_failures(plan.checkpoint_folder)
    try:
        shared_plan = plan if is_local(spark) else rank_process.copy_model(plan)
        trained = run_on_ranks(spark, processes, rank_process.run_rank_process, shared_plan, train)
    except UserError:
        raise
    except Exception as error:
        failure = next(iter(rank_process.read_failures(plan.checkpoint_folder)), None)
        if failure and failure["mistake"]:
            raise UserError(failure["message"]) from None
        if failure and not failure["secondary"]:
            message = f"rank {failure['rank']} failed: {failure['message']}\n{failure['trace']}"
            raise RuntimeError(message) from None
        reported = f" (rank {failure['rank']} reported: {failure['message']})" if failure else ""
        raise RuntimeError(
            "a training process ended without an error message: it was killed, ran out of memory, "
            f"or readmit_spark is not installed on its machine; see its output above{reported}"
        ) from error
    for step, values in trained.history:
        record(values, step, trained.steps)
    return trained


def is_local(spark: SparkSession) -> bool:
    """Return whether driver and executors are one process on one machine."""
    return (spark.sparkContext.master or "").split("[")[0] == "local"


def run_on_ranks(
    spark: SparkSession, processes: int, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Call `function` in several processes connected by torchrun; return the first one's result.

    On one machine they are children of the driver. On a cluster each is a task of a barrier stage,
    with the GPUs that `spark.task.resource.gpu.amount` assigns to it. Executors import `function`
    by name, so its package must be installed there. UserError if there are fewer slots than
    processes.
    """
    local = is_local(spark)
    slots = spark.sparkContext.defaultParallelism
    if local and processes > slots:
        raise UserError(
            f"train.processes is {processes} but {spark.sparkContext.master} has {slots} slots: "
            "lower it, or give Spark more slots"
        )
    gpus = float(spark.conf.get("spark.task.resource.gpu.amount", "0") or 0)
    distributor = TorchDistributor(
        num_processes=processes, local_mode=local, use_gpu=not local and gpus > 0
    )
    try:
        return distributor.run(function, *arguments)
    except Exception as error:
        if _TOO_FEW_SLOTS in str(error):
            raise UserError(
                f"train.processes is {processes}, but the cluster has fewer slots: each process "
                "needs the cores and GPUs of one task (spark.task.cpus, "
                "spark.task.resource.gpu.amount); lower it, or request more executors"
            ) from None
        if _DYNAMIC_ALLOCATION in str(error):
            raise UserError(
                "training in several processes needs all its executors at once: "
                "set spark.dynamicAllocation.enabled=false and request the executors"
            ) from None
        raise
