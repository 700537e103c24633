"""Starting a training where the configuration says: here, or on Spark's slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.training import launch
from readmit_spark.training.distribute import is_local, run_on_ranks
from readmit_spark.training.optimisation import Log


def launcher(
    spark: SparkSession | None, processes: int, train: Callable[..., Any]
) -> Callable[[Any, Log, Log], Any]:
    """(plan, record, say): runs train(plan, ranks, log) in this process, or on so many through
    Spark, where the ranks print what is said themselves."""
    if processes == 1:
        return lambda plan, record, say: launch.alone(plan, record, say, train)
    assert spark is not None  # the job keeps it
    return lambda plan, record, _: distributed(spark, processes, plan, record, train)


def distributed(
    spark: SparkSession, processes: int, plan: Any, record: Log, train: Callable[..., Any]
) -> Any:
    """train(plan, ranks, log) on so many processes; gives the first one's result, whose history is
    then recorded. A rank's own error is what is raised, a mistake of the user's as such."""
    launch.forget_failures(plan.work)
    try:
        shown = plan if is_local(spark) else launch.shared_model(plan)
        trained = run_on_ranks(spark, processes, launch.one_rank, shown, train)
    except UserError:
        raise
    except Exception as error:
        cause = next(iter(launch.failures(plan.work)), None)
        if cause and cause["mistake"]:
            raise UserError(cause["message"]) from None
        if cause and not cause["secondary"]:
            raise RuntimeError(
                f"rank {cause['rank']} failed: {cause['message']}\n{cause['trace']}"
            ) from None
        # A rank that only noticed, or none at all, had anything to say.
        noticed = f" (rank {cause['rank']} noticed: {cause['message']})" if cause else ""
        raise RuntimeError(
            "a training process died without a word: killed, out of memory, or readmit_spark is "
            f"not installed where it ran; what it printed is above{noticed}"
        ) from error
    for step, values in trained.history:
        record(values, step, trained.steps)
    return trained
