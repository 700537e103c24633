"""A function on many processes at once, one a slot, by Spark's TorchDistributor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError

_TOO_FEW, _DYNAMIC = "SPARK-24819", "SPARK-24942"  # Spark's names of the two


def is_local(spark: SparkSession) -> bool:
    """Whether driver and executors are one process on one machine."""
    return (spark.sparkContext.master or "").split("[")[0] == "local"


def run_on_ranks(
    spark: SparkSession, processes: int, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Calls `function` in `processes` processes that torchrun introduces to each other; gives the
    first one's result.

    On one machine they are the driver's children. On a cluster each is a task of a barrier stage,
    with the GPUs that `spark.task.resource.gpu.amount` assigns to it. UserError at once where there
    are fewer slots. `function` is found by its name on the executors: its package is installed
    there.
    """
    local = is_local(spark)
    slots = spark.sparkContext.defaultParallelism
    if local and processes > slots:
        raise UserError(
            f"train.processes is {processes} and {spark.sparkContext.master} has {slots} slots; "
            "lower it, or give Spark more"
        )
    gpus = float(spark.conf.get("spark.task.resource.gpu.amount", "0") or 0)
    distributor = TorchDistributor(
        num_processes=processes, local_mode=local, use_gpu=not local and gpus > 0
    )
    try:
        return distributor.run(function, *arguments)
    except Exception as error:
        if _TOO_FEW in str(error):
            raise UserError(
                f"train.processes is {processes}, and the cluster has not as many slots: a process "
                "takes a task's cores and GPUs (spark.task.cpus, spark.task.resource.gpu.amount); "
                "lower it, or ask for more executors"
            ) from None
        if _DYNAMIC in str(error):
            raise UserError(
                "training on many processes needs all of them at once: "
                "set spark.dynamicAllocation.enabled=false and ask for the executors"
            ) from None
        raise
