"""Hours and dollars, against a reckoning by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from readmit_spark.config import Config
from readmit_spark.emr.estimate import estimate, page, read_table
from readmit_spark.emr.request import read_template
from readmit_spark.errors import UserError
from tests.emr.conftest import ROOT, configured

TABLE: dict[str, Any] = {
    "workload": {"notes": 7_200_000, "tokens": 72_000_000},
    "setup_minutes": 15,
    "prepare": {"notes_per_second_per_core": 100, "rests_on": "measured"},
    "prices": "made up",
    "machines": {
        "m6i.xlarge": {"cores": 4, "on_demand": 0.2, "emr": 0.05},
        "m6i.2xlarge": {"cores": 4, "on_demand": 0.4, "emr": 0.1},
        "g6.2xlarge": {
            "cores": 8, "on_demand": 9.0, "spot": 0.5, "emr": 0.25, "tokens_per_second": 1000,
            "rests_on": "assumed",
        },
    },
}  # fmt: skip


@pytest.fixture
def template() -> dict[str, Any]:
    return read_template(ROOT / "conf/emr_cluster.json")


def test_hours_and_dollars(config: Config, template: dict[str, Any]) -> None:
    found = estimate(config, template, TABLE)
    assert found.setup_hours == 0.25
    assert found.prepare_hours == pytest.approx(1.0)  # 7.2 M notes / (100 a second * 4 + 2 * 8)
    assert found.score_hours == pytest.approx(10.0)  # 72 M tokens / (2 * 1000 a second)
    assert found.hours == pytest.approx(11.25)
    assert [line.nodes for line in found.lines] == [1, 1, 2]
    assert [line.dollars for line in found.lines] == pytest.approx(
        [11.25 * 0.25, 11.25 * 0.5, 2 * 11.25 * 0.75]
    )
    assert found.dollars == pytest.approx(11.25 * 2.25)


def test_more_gpus_take_less_time(template: dict[str, Any]) -> None:
    found = estimate(configured("emr.gpu_nodes=20"), template, TABLE)
    assert found.score_hours == pytest.approx(1.0)


def test_the_page_says_what_it_rests_on(config: Config, template: dict[str, Any]) -> None:
    shown = page(config, template, TABLE)
    assert "11.25 h" in shown and "in all $25.31" in shown
    assert "rests on: measured" in shown and "rests on: assumed" in shown


@pytest.mark.parametrize("missing", ["g6.2xlarge", "tokens_per_second"])
def test_a_table_with_a_hole(config: Config, template: dict[str, Any], missing: str) -> None:
    table = copy.deepcopy(TABLE)
    table["machines"].pop(missing, None)
    table["machines"].get("g6.2xlarge", {}).pop(missing, None)
    with pytest.raises(UserError, match=r"--estimate: .*g6\.2xlarge"):
        estimate(config, template, table)


def test_the_table_that_comes_with_it(config: Config, template: dict[str, Any]) -> None:
    table = read_table(ROOT / "conf/aws/estimate.yaml")
    found = estimate(config, template, table)
    assert 0 < found.dollars < 100
    kinds = {
        kind["InstanceType"]
        for fleet in template["InstanceFleets"]
        if fleet["InstanceFleetType"] == "TASK"
        for kind in fleet["InstanceTypeConfigs"]
    }
    assert kinds <= set(table["machines"])
