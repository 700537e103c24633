"""Hours and dollars, compared with a calculation by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from readmit_spark.config import Config
from readmit_spark.emr.estimate import estimate_run, format_estimate, read_table
from readmit_spark.emr.request import read_shapes, read_template
from readmit_spark.errors import UserError
from tests.emr.conftest import ROOT, configured

TABLE: dict[str, Any] = {
    "workload": {"notes": 7_200_000, "tokens": 72_000_000},
    "setup_minutes": 15,
    "prepare": {"notes_per_second_per_core": 100, "rests_on": "measured"},
    "prices": "made up",
    "machines": {
        "m6i.xlarge": {"cores": 4, "on_demand": 0.2, "emr": 0.05},
        "m6i.2xlarge": {"cores": 10, "on_demand": 0.4, "emr": 0.1},
        "g6.2xlarge": {
            "cores": 8, "on_demand": 9.0, "spot": 0.5, "emr": 0.25, "tokens_per_second": 1000,
            "rests_on": "assumed",
        },
    },
}  # fmt: skip


SHAPE = {"spark.executor.cores": "4"}


@pytest.fixture
def template() -> dict[str, Any]:
    return read_template(ROOT / "conf/emr_cluster.json")


def test_hours_and_dollars(config: Config, template: dict[str, Any]) -> None:
    estimate = estimate_run(config, template, SHAPE, TABLE)
    assert estimate.setup_hours == 0.25
    # 7.2 M notes / (100 per second * cores): two executors of 4 cores on each node. The driver has
    # one of the 10 cores of its node, and one is unused.
    assert estimate.prepare_hours == pytest.approx(20 / 24)
    assert estimate.score_hours == pytest.approx(10.0)  # 72 M tokens / (2 * 1000 per second)
    hours = 0.25 + 20 / 24 + 10
    assert estimate.hours == pytest.approx(hours)
    assert [fleet.nodes for fleet in estimate.fleets] == [1, 1, 2]
    assert [fleet.dollars for fleet in estimate.fleets] == pytest.approx(
        [hours * 0.25, hours * 0.5, 2 * hours * 0.75]
    )
    assert estimate.dollars == pytest.approx(hours * 2.25)


def test_the_driver_uses_the_cores_of_an_executor(config: Config, template: dict[str, Any]) -> None:
    """With conf/spark-emr-prepare.conf on a 2xlarge, for which YARN counts 8 vcores."""
    shape = read_shapes(ROOT / "conf")["prepare"]
    table = copy.deepcopy(TABLE)
    table["machines"]["m6i.2xlarge"]["cores"] = 8
    estimate = estimate_run(config, template, shape, table)
    assert estimate.prepare_hours == pytest.approx(20 / (4 + 2 * 8))


def test_more_gpus_take_less_time(template: dict[str, Any]) -> None:
    estimate = estimate_run(configured("emr.gpu_nodes=20"), template, SHAPE, TABLE)
    assert estimate.score_hours == pytest.approx(1.0)


def test_the_output_names_the_source_of_the_rates(config: Config, template: dict[str, Any]) -> None:
    text = format_estimate(estimate_run(config, template, SHAPE, TABLE), TABLE)
    assert "11.08 h" in text and "total $24.94" in text
    assert "based on: measured" in text and "based on: assumed" in text


@pytest.mark.parametrize("missing", ["g6.2xlarge", "tokens_per_second"])
def test_an_incomplete_table_is_an_error(
    config: Config, template: dict[str, Any], missing: str
) -> None:
    table = copy.deepcopy(TABLE)
    table["machines"].pop(missing, None)
    table["machines"].get("g6.2xlarge", {}).pop(missing, None)
    with pytest.raises(UserError, match=r"--estimate: .*g6\.2xlarge"):
        estimate_run(config, template, SHAPE, table)


def test_the_table_in_conf_is_complete(config: Config, template: dict[str, Any]) -> None:
    table = read_table(ROOT / "conf/aws/estimate.yaml")
    estimate = estimate_run(config, template, SHAPE, table)
    assert 0 < estimate.dollars < 100
    machines = {
        machine["InstanceType"]
        for fleet in template["InstanceFleets"]
        if fleet["InstanceFleetType"] == "TASK"
        for machine in fleet["InstanceTypeConfigs"]
    }
    assert machines <= set(table["machines"])
