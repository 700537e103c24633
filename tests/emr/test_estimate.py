"""Hours and dollars, against a reckoning by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from readmit_spark.config import Config
from readmit_spark.emr.estimate import estimate, page, read_table
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
    found = estimate(config, template, SHAPE, TABLE)
    assert found.setup_hours == 0.25
    # 7.2 M notes / (100 a second * cores): executors of 4, two on each node; the driver has one of
    # the 10 of its node, and one is left over.
    assert found.prepare_hours == pytest.approx(20 / 24)
    assert found.score_hours == pytest.approx(10.0)  # 72 M tokens / (2 * 1000 a second)
    hours = 0.25 + 20 / 24 + 10
    assert found.hours == pytest.approx(hours)
    assert [line.nodes for line in found.lines] == [1, 1, 2]
    assert [line.dollars for line in found.lines] == pytest.approx(
        [hours * 0.25, hours * 0.5, 2 * hours * 0.75]
    )
    assert found.dollars == pytest.approx(hours * 2.25)


def test_the_driver_takes_the_place_of_an_executor(
    config: Config, template: dict[str, Any]
) -> None:
    """As conf/spark-emr-prepare.conf has it: on a 2xlarge, whose 8 vcores YARN counts."""
    shape = read_shapes(ROOT / "conf")["prepare"]
    table = copy.deepcopy(TABLE)
    table["machines"]["m6i.2xlarge"]["cores"] = 8
    found = estimate(config, template, shape, table)
    assert found.prepare_hours == pytest.approx(20 / (4 + 2 * 8))


def test_more_gpus_take_less_time(template: dict[str, Any]) -> None:
    found = estimate(configured("emr.gpu_nodes=20"), template, SHAPE, TABLE)
    assert found.score_hours == pytest.approx(1.0)


def test_the_page_says_what_it_rests_on(config: Config, template: dict[str, Any]) -> None:
    shown = page(estimate(config, template, SHAPE, TABLE), TABLE)
    assert "11.08 h" in shown and "in all $24.94" in shown
    assert "rests on: measured" in shown and "rests on: assumed" in shown


@pytest.mark.parametrize("missing", ["g6.2xlarge", "tokens_per_second"])
def test_a_table_with_a_hole(config: Config, template: dict[str, Any], missing: str) -> None:
    table = copy.deepcopy(TABLE)
    table["machines"].pop(missing, None)
    table["machines"].get("g6.2xlarge", {}).pop(missing, None)
    with pytest.raises(UserError, match=r"--estimate: .*g6\.2xlarge"):
        estimate(config, template, SHAPE, table)


def test_the_table_that_comes_with_it(config: Config, template: dict[str, Any]) -> None:
    table = read_table(ROOT / "conf/aws/estimate.yaml")
    found = estimate(config, template, SHAPE, table)
    assert 0 < found.dollars < 100
    kinds = {
        kind["InstanceType"]
        for fleet in template["InstanceFleets"]
        if fleet["InstanceFleetType"] == "TASK"
        for kind in fleet["InstanceTypeConfigs"]
    }
    assert kinds <= set(table["machines"])
