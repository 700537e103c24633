"""The monitor on published nights: quiet ones, and one on which the notes change."""

from __future__ import annotations

import io
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.nightly.monitor_stays import TABLES, new_stays
from readmit_spark.nightly.published_nights import find_nights, night_name
from readmit_spark.scoring.model import Model
from readmit_spark.storage.publish import read_manifest
from tests.html_page import Page
from tests.runs import run_monitor, run_nightly, start_run
from tests.tables_in import Row, note, stay, words, write_csv
from tests.ward import run_program

A_DAY = 8  # patients admitted each day
REFERENCE = 3
NIGHTS = [datetime(2020, 1, day, 2) for day in range(2, 7)]
BREAK = NIGHTS[-1]
STRANGE = "ωωω"  # no word pieces in the model's vocabulary


def hospital(broken: bool) -> tuple[list[Row], list[Row]]:
    """Make a hospital that admits eight patients a day for two days each.

    Every third patient is readmitted on the evening of the discharge. If `broken`, every second
    word of the last day's notes is in another alphabet.
    """
    stays: list[Row] = [stay(900, 9001, "2019-12-01", None)]  # a long stay, not new
    notes: list[Row] = [note(9000, 900, 9001, words(30, 5), "2019-12-01", "10:00:00")]
    for i in range(len(NIGHTS) * A_DAY):
        subject, came = i + 1, datetime(2020, 1, 1) + timedelta(days=i // A_DAY)
        left = came + timedelta(days=2)
        day = f"{came:%Y-%m-%d}"
        hadm = 10 * subject + 1
        stays.append(stay(subject, hadm, day, f"{left:%Y-%m-%d}"))
        if subject % 3 == 0:
            back = f"{left:%Y-%m-%d} 18:00:00"
            stays.append(stay(subject, hadm + 1, back, f"{left:%Y-%m-%d} 22:00:00"))
        if subject % 11 == 5:
            continue  # no notes
        text = words(20, 30 * i).split()
        if broken and came.date() == NIGHTS[-2].date():
            text[::2] = [STRANGE] * len(text[::2])
        notes.append(note(2 * i, subject, hadm, " ".join(text), day, "14:00:00", "Nursing"))
        if i % 4 == 0:
            notes.append(note(2 * i + 1, subject, hadm, "Chest clear", day, "15:00:00", "ECG"))
    return stays, notes


class Watched(NamedTuple):
    spark: SparkSession
    folder: Path
    settings: list[str]

    def root(self) -> Path:
        return self.folder / "out"

    def run(self, *more: str, as_of: datetime | None = None) -> tuple[str, dict[str, Any]]:
        """Run the monitor; return its summary lines and monitor.json."""
        config = load_config(overrides=[*self.settings, *more])
        printed = run_monitor(self.spark, config, as_of)
        return printed, json.loads((self.root() / "monitor.json").read_text())


@pytest.fixture(scope="module")
def watched(
    spark: SparkSession, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    stays, notes = hospital(broken=True)
    settings = [
        f"data.admissions={write_csv(folder / 'ADMISSIONS.csv', stays)}",
        f"data.notes={write_csv(folder / 'NOTES.csv', notes)}",
        f"output.root={folder / 'out'}", f"model.path={tiny_model}", "model.max_tokens=128",
        "chunk.mode=words", "chunk.words=12", "chunk.min_tail_words=3", "nightly.alert_value=4",
        "score.bootstrap=20",
        f"monitor.reference_nights={REFERENCE}", "label.horizon_days=1",
    ]  # fmt: skip
    config = load_config(overrides=settings)
    for night in NIGHTS:
        run_nightly(spark, config, Model(tiny_model, "tiny"), night)
    yield Watched(spark, folder, settings)


@pytest.mark.slow
def test_it_runs_as_a_program(watched: Watched, tmp_path: Path) -> None:
    done = run_program("monitor", watched.settings, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == watched.run()[0].strip()


def alarms(record: dict[str, Any]) -> set[tuple[str, int, str]]:
    return {
        (chart["statistic"], chart["nights_together"], night)
        for chart in record["charts"]
        for night, alarm in zip(record["nights"], chart["alarm"], strict=True)
        if alarm
    }


def test_the_night_on_which_the_notes_change_is_flagged(watched: Watched) -> None:
    printed, record = watched.run()
    flagged = alarms(record)
    assert ("unknown_words", 1, BREAK.isoformat()) in flagged
    assert {night for _, _, night in flagged} == {BREAK.isoformat()}
    assert f"night of {BREAK.isoformat()}" in printed and "ALARM     Unknown word rate" in printed
    facts = read_manifest(watched.spark, str(watched.root()), "monitor")
    assert any("Unknown word rate" in row["what"] for row in facts["alarms"])
    page = Page((watched.root() / "monitor.html").read_text())
    assert not page.open and "Unknown word rate, 1 night" in page.text
    assert STRANGE not in (watched.root() / "monitor.html").read_text()


def test_the_page_shows_the_settings_of_the_nights(watched: Watched) -> None:
    watched.run("nightly.alert_value=77")
    text = Page((watched.root() / "monitor.html").read_text()).text
    assert "capacity 4" in text and "capacity 77" not in text


def test_the_night_before_it_was_quiet(watched: Watched) -> None:
    printed, record = watched.run(as_of=NIGHTS[-2])
    assert alarms(record) == set() and record["nights"][-1] == NIGHTS[-2].isoformat()
    assert "0 alarms" in printed
    assert "No alarm tonight" in (watched.root() / "monitor.html").read_text()


def test_without_a_complete_reference_nothing_is_tested(watched: Watched) -> None:
    printed, _ = watched.run(as_of=NIGHTS[1])
    assert "2 of 3 reference nights: nothing is tested yet" in printed
    assert "Nothing is tested yet" in (watched.root() / "monitor.html").read_text()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "missing", ["the folder", pytest.param("a part file", marks=pytest.mark.slow)]
)
def test_a_damaged_night_is_left_out_with_a_message(
    watched: Watched, tmp_path: Path, table: str, missing: str
) -> None:
    """A table, or one file of a table, of an older night is missing."""
    root = shutil.copytree(watched.root(), tmp_path / "out")
    facts = read_manifest(watched.spark, str(root), night_name(NIGHTS[1]))
    folder = root / facts["run"] / table
    shutil.rmtree(folder) if missing == "the folder" else next(folder.rglob("*.parquet")).unlink()
    log = io.StringIO()
    config = load_config(overrides=[*watched.settings, f"output.root={root}"])
    run_monitor(watched.spark, config, out=log)
    assert f"the night of {NIGHTS[1]} is left out" in log.getvalue()
    others = [night.isoformat() for night in NIGHTS if night != NIGHTS[1]]
    assert json.loads((root / "monitor.json").read_text())["nights"] == others


def test_each_new_stay_counts_once_with_the_values_of_its_first_night(watched: Watched) -> None:
    """Compared with a loop over the nights' files."""
    config = load_config(overrides=watched.settings)
    with start_run(watched.spark, config, "monitor") as run:
        nights = find_nights(run, BREAK, 99).used[::-1]
    rows = {r["hadm_id"]: r for r in new_stays(watched.spark, nights).toPandas().to_dict("records")}
    counted: set[int] = set()
    expected: dict[int, tuple[Any, ...]] = {}
    for night in nights:

        def table(name: str, path: str = night.path) -> list[dict[str, Any]]:
            return pq.read_table(path.removeprefix("file:") + "/" + name).to_pylist()

        notes = defaultdict(list)
        for row in table("notes"):
            notes[row["hadm_id"]].append(row["category"])
        scores = {row["hadm_id"]: row["score"] for row in table("patient_risk")}
        for row in table("patient_risk") + table("unscored"):
            hadm = row["hadm_id"]
            if hadm not in counted and row["day_of_stay"] <= 2:
                own = notes[hadm]
                expected[hadm] = (scores.get(hadm), len(own), " + ".join(sorted(set(own))))
            counted.add(hadm)
    assert 9001 in counted and 9001 not in rows
    assert set(rows) == set(expected) and len(rows) == len(NIGHTS) * A_DAY
    for hadm, (score, n_notes, categories) in expected.items():
        row = rows[hadm]
        assert (None if row["score"] != row["score"] else row["score"]) == score
        assert (row["n_notes"], row["categories"]) == (n_notes, categories)
        if score is None:
            assert row["n_tokens"] != row["n_tokens"]
        else:
            strange = 10 if hadm // 10 > A_DAY * (len(NIGHTS) - 1) else 0
            assert row["n_unknown"] == strange and row["n_tokens"] > 20
    assert sum(score is None for score, _, _ in expected.values()) >= 2


def test_only_settled_outcomes_count(watched: Watched) -> None:
    """On the 6th at 2:00, stays that ended by noon of the 4th are settled, one day later."""
    watched.run()
    page = Page((watched.root() / "monitor.html").read_text())
    stays = {int(s["HADM_ID"] or 0): s for s in hospital(broken=True)[0]}
    settled = [h for h, s in stays.items() if s["DISCHTIME"] and s["DISCHTIME"] < "2020-01-05 02"]
    scored = {
        row["hadm_id"]
        for night in NIGHTS
        for row in pq.read_table(
            watched.root()
            / read_manifest(watched.spark, str(watched.root()), f"nightly/{night:%Y-%m-%dT%H%M%S}")[
                "run"
            ]
            / "patient_risk"
        ).to_pylist()
    }
    scored_and_settled = [h for h in settled if h in scored]
    back = [h for h in scored_and_settled if h + 1 in stays]
    assert len(back) >= 4
    assert f"{len(scored_and_settled)} admissions discharged from" in page.text
    # No percentage: fewer than 50 stays are too few to say.
    assert f"days. {len(back)} were followed by a readmission" in page.text


def test_wrong_settings_are_user_errors(watched: Watched, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no complete night"):
        watched.run(f"output.root={tmp_path}")
    with pytest.raises(UserError, match=r"monitor\.reference_from: no night is as late"):
        watched.run("monitor.reference_from='2021-01-01'")
    with pytest.raises(UserError, match=r"monitor\.false_alarm_rate is 2"):
        watched.run("monitor.false_alarm_rate=2")
