"""Published nights are found whatever else lies in their folder."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config import to_dict
from readmit_spark.config_file import load_config
from readmit_spark.nightly.published_nights import Nights, find_nights, night_name
from tests.runs import start_run

EVENING = datetime(2026, 1, 3, 22)


class Root(NamedTuple):
    spark: SparkSession
    path: Path

    def record(self, name: str) -> Path:
        return self.path / "_manifests" / "nightly" / name

    def publish(self, as_of: datetime, says: datetime | None = None) -> Path:
        """Write the manifest of a night with one table, of one byte. says: its as-of time, if it is
        another than in its name."""
        config = to_dict(load_config())
        facts = {
            "job": night_name(as_of), "run": f"{night_name(as_of)}/1",
            "tables": {"chunks": {"rows": 1, "files": {"part-0.parquet": 1}}},
            "as_of": (says or as_of).isoformat(), "config": config, "model": "m", "basis": "b",
            "backend": None, "tokens_scored": 0, "counts": {}, "seconds": {},
        }  # fmt: skip
        part = self.path / night_name(as_of) / "1" / "chunks" / "part-0.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("x")
        path = self.path / "_manifests" / f"{night_name(as_of)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts))
        return path

    def find(self, as_of: datetime = EVENING) -> tuple[Nights, str]:
        """Return the nights and the progress lines."""
        config, log = load_config(), io.StringIO()
        config = replace(config, output=replace(config.output, root=str(self.path)))
        with start_run(self.spark, config, "monitor", log) as run:
            return find_nights(run, as_of, 99), log.getvalue()


@pytest.fixture
def root(spark: SparkSession, tmp_path: Path) -> Root:
    """Nights of 1 to 3 January."""
    root = Root(spark, tmp_path)
    for day in (1, 2, 3):
        root.publish(datetime(2026, 1, day, 2))
    return root


def days(nights: Nights) -> list[int]:
    return [night.as_of.day for night in nights.used]


def test_files_of_other_names_are_left_out_and_named(root: Root) -> None:
    others = (
        "._2026-01-02T020000.json", ".nfs00001.json", "copy of 2026.json",
        "2026-01-02T020000 (1).json", "1-01-01T000000.json", "2026-13-45T020000.json", "notes.txt",
        "2026-01-02T020000.json.1a2b3c4d.new",
    )  # fmt: skip
    for name in others:
        root.record(name).write_text("{}")
    nights, log = root.find()
    assert days(nights) == [3, 2, 1] and nights.later is None
    assert f"left out, because no night has this name: {', '.join(sorted(others))}\n" in log
    assert log.count("left out") == 1


@pytest.mark.parametrize("content", ["", '{"run": "nigh', "{}", "[]", "null", '"a"', "\x00\x00"])
@pytest.mark.parametrize("day", [2, 5])
def test_a_damaged_manifest_is_left_out_and_named(root: Root, content: str, day: int) -> None:
    damaged = datetime(2026, 1, day, 2)
    root.publish(damaged).write_text(content)
    nights, log = root.find()
    assert days(nights) == ([3, 1] if day == 2 else [3, 2, 1])
    assert nights.later is None  # a damaged night holds no list
    assert f"the night of {damaged} is left out: " in log


def test_a_copy_under_another_night_s_name_is_left_out(root: Root) -> None:
    root.publish(datetime(2026, 1, 4, 2), says=datetime(2026, 1, 3, 2))
    nights, log = root.find()
    assert nights.later is None and "its manifest is that of 2026-01-03 02:00:00" in log


def test_the_last_readable_later_night_has_the_list_at_the_root(root: Root) -> None:
    root.publish(datetime(2026, 1, 5, 2))
    root.publish(datetime(2026, 1, 4, 2))
    root.publish(datetime(2026, 1, 6, 2)).write_text("")
    assert root.find()[0].later == datetime(2026, 1, 5, 2)


def test_the_year_1_is_a_night_like_others(root: Root) -> None:
    first = datetime(1, 1, 1)
    assert night_name(first) == "nightly/0001-01-01T000000"
    root.publish(first)
    nights, log = root.find()
    assert nights.used[-1].as_of == first and "left out" not in log
    assert root.find(first)[0].own is not None
