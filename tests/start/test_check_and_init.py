"""`readmit check` and `readmit init` on the demo hospital and on tables with slips."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from readmit_spark import readmit
from readmit_spark.config_file import load_config
from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.start.check import check
from readmit_spark.start.tables import find_table, look_at_stays
from tests.tables_in import stay, write_csv


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "data"
    write_hospital(make_hospital(patients=60, seed=3), folder)
    return folder


def findings(tmp_path: Path, *overrides: str) -> list[str]:
    config = load_config(overrides=[f"output.root={tmp_path}/out", *overrides])
    return [str(finding) for finding in check(config, {"PATH": "/usr/bin:/bin"})]


def test_the_stays_and_readmissions_are_those_of_a_loop(data: Path) -> None:
    rows = pd.read_csv(data / "ADMISSIONS.csv", parse_dates=["ADMITTIME", "DISCHTIME"])
    readmitted = 0
    for row in rows.itertuples():
        later = rows[(rows.SUBJECT_ID == row.SUBJECT_ID) & (rows.ADMITTIME > row.ADMITTIME)]
        unplanned = later[later.ADMISSION_TYPE != "ELECTIVE"].ADMITTIME
        readmitted += bool(((unplanned - row.DISCHTIME).dt.total_seconds() < 30 * 86_400).any())
    table = find_table("data.admissions", str(data / "ADMISSIONS.csv"))
    assert table is not None
    stays = look_at_stays(table, load_config())
    assert (stays.n, stays.patients) == (len(rows), rows.SUBJECT_ID.nunique())
    assert stays.readmitted == readmitted > 0
    assert (stays.text_ids, stays.unread_times, stays.types) == (False, 0.0, {})
    assert stays.last == rows.ADMITTIME.max()


def test_a_ready_hospital_has_only_warnings_of_its_size(data: Path, tmp_path: Path) -> None:
    tables = [f"data.admissions={data}/ADMISSIONS.csv", f"data.notes={data}/NOTEEVENTS.csv"]
    found = findings(tmp_path, *tables)
    assert not [line for line in found if line.startswith("missing") and "disk" not in line]
    assert any("data.notes: " in line and "all columns" in line for line in found)
    assert [line for line in found if "too few" in line and line.startswith("warning")]
    assert not (tmp_path / "out").exists()


def test_slips_are_named_together(tmp_path: Path) -> None:
    stays = [stay("A1", "H1", "2020-01-01", "2020-01-05"), stay("A1", "H2", "soon", "2020-01-09")]
    stays[0]["ADMISSION_TYPE"] = "Day care"
    admissions = write_csv(tmp_path / "ADMISSIONS.csv", stays)
    (tmp_path / "NOTES.csv").write_text("SECRET PATIENT TEXT\n")
    found = findings(
        tmp_path, f"data.admissions={admissions}", f"data.notes={tmp_path}/NOTES.csv",
        f"data.patients={tmp_path}/none.csv",
    )  # fmt: skip
    said = "\n".join(line for line in found if not line.startswith("ok"))
    for part in (
        "missing  data.notes: ", "missing  data.patients: ", "none.csv does not exist",
        "set data.ids=text", "50.0% of ADMITTIME", "ADMISSION_TYPE DAY CARE (1)",
    ):  # fmt: skip
        assert part in said, said
    assert "SECRET" not in said


def test_init_writes_a_configuration_that_check_accepts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ours.yaml"
    arguments = ["init", str(file), f"--admissions={data}/ADMISSIONS.csv", "--out=~/out: of ours"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["readmit", *arguments, f"--notes={data}/NOTEEVENTS.csv"])
    assert readmit.main() == 0
    config = load_config(file)
    assert config.data.notes == f"{data}/NOTEEVENTS.csv"
    assert config.output_root == f"{tmp_path}/out: of ours"
    assert config.label.known_until == ("auto" if date.today().year > 2105 else None)
    capsys.readouterr()
    assert readmit.main() == 2  # nothing is overwritten
    assert f"{file} exists" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["readmit", "check", "--config", str(file)])
    assert readmit.main() == 0
    assert "all columns" in capsys.readouterr().out


def test_init_names_unknown_types_and_text_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = [stay("A1", "H1", "2020-01-01", "2020-01-05") | {"ADMISSION_TYPE": "Day  care: 'x'"}]
    admissions = write_csv(tmp_path / "ADMISSIONS.csv", stays)
    file = tmp_path / "ours.yaml"
    given = [
        "init",
        str(file),
        f"--admissions={admissions}",
        "--notes=s3://ward/notes/",
        "--out=/x/y",
    ]
    monkeypatch.setattr(sys, "argv", ["readmit", *given])
    assert readmit.main() == 0
    config = load_config(file)
    assert (config.data.ids, config.label.known_until) == ("text", "auto")
    assert config.codes.unplanned[-1] == "day care: 'x'"
    assert config.data.notes == "s3://ward/notes/"
