"""Estimate duration and cost of a run on EMR from measured rates and user-edited prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from readmit_spark.config import Config
from readmit_spark.errors import UserError


@dataclass(frozen=True)
class FleetCost:
    """Cost of one fleet: number of nodes, hours of each, and total dollars for EC2 and EMR.

    rests_on: where the rate behind the hours comes from.
    """

    name: str
    instance: str
    nodes: int
    hours: float
    dollars: float
    rests_on: str


@dataclass(frozen=True)
class Estimate:
    """Hours of each part of a run, and the cost of each fleet."""

    setup_hours: float
    prepare_hours: float
    score_hours: float
    fleets: tuple[FleetCost, ...]

    @property
    def hours(self) -> float:
        """Total hours."""
        return self.setup_hours + self.prepare_hours + self.score_hours

    @property
    def dollars(self) -> float:
        """Total dollars."""
        return sum(fleet.dollars for fleet in self.fleets)


def estimate_text(
    config: Config, template: Mapping[str, Any], shape: Mapping[str, str], path: Path
) -> str:
    """Return the estimate from the table in `path` as lines for a terminal; see `estimate_run`."""
    table = read_table(path)
    return format_estimate(estimate_run(config, template, shape, table), table)


def read_table(path: Path) -> dict[str, Any]:
    """Read workload, rates and prices from conf/aws/estimate.yaml."""
    try:
        table: dict[str, Any] = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--estimate: {path} does not exist") from None
    return table


def estimate_run(
    config: Config,
    template: Mapping[str, Any],
    shape: Mapping[str, str],
    table: Mapping[str, Any],
) -> Estimate:
    """Estimate prepare followed by score on a new cluster.

    Hours = setup + notes / prepare's rate + tokens / the GPUs' rate; every node is paid for all
    hours. Each fleet is assumed to get its first machine type, the GPU fleet at its spot price.

    shape: Spark properties of prepare, which runs in as many executors as fit on the nodes; its
    rate grows with their cores. Scoring runs on the GPU nodes only.
    """
    first = {
        fleet["InstanceFleetType"]: fleet["InstanceTypeConfigs"][0]["InstanceType"]
        for fleet in template["InstanceFleets"]
    }
    nodes = {"MASTER": 1, "CORE": config.emr.cpu_nodes, "TASK": config.emr.gpu_nodes}
    machines = {fleet: _machine(table, first[fleet]) for fleet in nodes}
    work, prepare = table["workload"], table["prepare"]
    free = [machines[fleet]["cores"] for fleet in ("CORE", "TASK") for _ in range(nodes[fleet])]
    free[0] -= 1  # for the driver
    executor_cores = int(shape["spark.executor.cores"])
    cores = sum(node // executor_cores * executor_cores for node in free)
    gpu = machines["TASK"]
    if not gpu.get("tokens_per_second"):
        raise UserError(
            f"--estimate: {first['TASK']} has no tokens_per_second; measure it in a run of score"
        )
    setup = table["setup_minutes"] / 60
    prepare_hours = work["notes"] / (prepare["notes_per_second_per_core"] * cores) / 3600
    score_hours = work["tokens"] / (gpu["tokens_per_second"] * nodes["TASK"]) / 3600
    hours = setup + prepare_hours + score_hours
    fleets = []
    for fleet, name in (("MASTER", "primary"), ("CORE", "CPU nodes"), ("TASK", "GPU nodes, spot")):
        machine = machines[fleet]
        ec2 = machine["spot"] if fleet == "TASK" else machine["on_demand"]
        rests_on = gpu["rests_on"] if fleet == "TASK" else prepare["rests_on"]
        dollars = nodes[fleet] * hours * (ec2 + machine["emr"])
        fleets.append(FleetCost(name, first[fleet], nodes[fleet], hours, dollars, rests_on))
    return Estimate(setup, prepare_hours, score_hours, tuple(fleets))


def format_estimate(estimate: Estimate, table: Mapping[str, Any]) -> str:
    """Return the estimate as lines for a terminal; table: its workload, rates and prices."""
    work = table["workload"]
    rows = [
        f"{work['notes']:,} notes, {work['tokens']:,} tokens to score",
        f"setup {estimate.setup_hours:.2f} h + prepare {estimate.prepare_hours:.2f} h + score "
        f"{estimate.score_hours:.2f} h = {estimate.hours:.2f} h",
        *(f"{fleet.nodes} x {fleet.instance} ({fleet.name}): ${fleet.dollars:.2f}"
          for fleet in estimate.fleets),
        f"total ${estimate.dollars:.2f} (EC2 and EMR, without storage, logs and traffic)",
        *(f"based on: {source}" for source in dict.fromkeys(x.rests_on for x in estimate.fleets)),
        f"prices: {table['prices']}",
    ]  # fmt: skip
    return "\n".join(rows)


def _machine(table: Mapping[str, Any], instance: str) -> dict[str, Any]:
    machine: dict[str, Any] | None = table["machines"].get(instance)
    if machine is None:
        raise UserError(
            f"--estimate: the table has no {instance}, which conf/emr_cluster.json uses; "
            "add its cores and prices"
        )
    return machine
