"""What a run on EMR takes and costs, from rates that were measured and prices that you keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from readmit_spark.config import Config
from readmit_spark.errors import UserError


@dataclass(frozen=True)
class Line:
    """One kind of machine: nodes, hours each, dollars in all (EC2 and EMR), and what the hours
    rest on."""

    what: str
    instance: str
    nodes: int
    hours: float
    dollars: float
    rests_on: str


@dataclass(frozen=True)
class Estimate:
    setup_hours: float
    prepare_hours: float
    score_hours: float
    lines: tuple[Line, ...]

    @property
    def hours(self) -> float:
        return self.setup_hours + self.prepare_hours + self.score_hours

    @property
    def dollars(self) -> float:
        return sum(line.dollars for line in self.lines)


def read_table(path: Path) -> dict[str, Any]:
    """conf/aws/estimate.yaml: workload, rates and prices."""
    try:
        table: dict[str, Any] = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--estimate: {path} does not exist") from None
    return table


def estimate(
    config: Config,
    template: Mapping[str, Any],
    shape: Mapping[str, str],
    table: Mapping[str, Any],
) -> Estimate:
    """Hours = set-up + notes / prepare's rate + tokens / the GPUs' rate; every node is paid for all
    of them. The first machine of each fleet stands for it; the GPU fleet at its spot price.

    prepare runs in the executors of `shape` that every node has room for, as the cores of the
    table's rate scale; scoring on the GPU nodes.
    """
    first = {
        fleet["InstanceFleetType"]: fleet["InstanceTypeConfigs"][0]["InstanceType"]
        for fleet in template["InstanceFleets"]
    }
    nodes = {"MASTER": 1, "CORE": config.emr.cpu_nodes, "TASK": config.emr.gpu_nodes}
    kinds = {fleet: _machine(table, first[fleet]) for fleet in nodes}
    work, prepare = table["workload"], table["prepare"]
    free = [kinds[fleet]["cores"] for fleet in ("CORE", "TASK") for _ in range(nodes[fleet])]
    free[0] -= 1  # the driver's
    each = int(shape["spark.executor.cores"])
    cores = sum(node // each * each for node in free)
    gpu = kinds["TASK"]
    if not gpu.get("tokens_per_second"):
        raise UserError(
            f"--estimate: {first['TASK']} has no tokens_per_second; take it from a run of the job"
        )
    setup = table["setup_minutes"] / 60
    prepare_hours = work["notes"] / (prepare["notes_per_second_per_core"] * cores) / 3600
    score_hours = work["tokens"] / (gpu["tokens_per_second"] * nodes["TASK"]) / 3600
    hours = setup + prepare_hours + score_hours
    lines = []
    for fleet, what in (("MASTER", "primary"), ("CORE", "CPU nodes"), ("TASK", "GPU nodes, spot")):
        kind = kinds[fleet]
        ec2 = kind["spot"] if fleet == "TASK" else kind["on_demand"]
        rests_on = gpu["rests_on"] if fleet == "TASK" else prepare["rests_on"]
        dollars = nodes[fleet] * hours * (ec2 + kind["emr"])
        lines.append(Line(what, first[fleet], nodes[fleet], hours, dollars, rests_on))
    return Estimate(setup, prepare_hours, score_hours, tuple(lines))


def page(found: Estimate, table: Mapping[str, Any]) -> str:
    """The estimate as lines for a terminal. table: what it was made from."""
    work = table["workload"]
    rows = [
        f"{work['notes']:,} notes, {work['tokens']:,} tokens to score",
        f"set-up {found.setup_hours:.2f} h + prepare {found.prepare_hours:.2f} h + score "
        f"{found.score_hours:.2f} h = {found.hours:.2f} h",
        *(f"{line.nodes} x {line.instance} ({line.what}): ${line.dollars:.2f}"
          for line in found.lines),
        f"in all ${found.dollars:.2f} (EC2 and EMR; storage, logs and traffic not counted)",
        *(f"rests on: {reason}" for reason in dict.fromkeys(x.rests_on for x in found.lines)),
        f"prices: {table['prices']}",
    ]  # fmt: skip
    return "\n".join(rows)


def _machine(table: Mapping[str, Any], instance: str) -> dict[str, Any]:
    found = table["machines"].get(instance)
    if found is None:
        raise UserError(
            f"--estimate: the table has no {instance}, which conf/emr_cluster.json asks for; "
            "add its cores and prices"
        )
    machine: dict[str, Any] = found
    return machine
