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
from tests import shapes
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


def test_what_is_missing_without_an_optional_column_is_said(data: Path, tmp_path: Path) -> None:
    notes = pd.read_csv(data / "NOTEEVENTS.csv", dtype=str).drop(columns="STORETIME")
    notes.to_csv(tmp_path / "NOTES.csv", index=False)
    stays = pd.read_csv(data / "ADMISSIONS.csv", dtype=str).assign(PLANNED="yes")
    stays.to_csv(tmp_path / "STAYS.csv", index=False)
    (tmp_path / "places.csv").write_text("HADM_ID,BED\n")
    found = findings(
        tmp_path, f"data.admissions={tmp_path}/STAYS.csv", f"data.notes={tmp_path}/NOTES.csv",
        "nightly.columns=[WARD]", f"nightly.columns_table={tmp_path}/places.csv",
    )  # fmt: skip
    said = "\n".join(found)
    assert "warning  data.notes has no STORETIME: notes count from CHARTTIME" in said
    assert "ok       data.admissions also has PLANNED" in said
    assert "lacks the columns WARD; it has HADM_ID, BED" in said
    assert "about 0 (0.0%) with an unplanned stay" in said  # PLANNED has the last word
    given = (f"data.admissions={tmp_path}/STAYS.csv", "nightly.columns=[WARD]")
    assert "missing  nightly.columns: data.admissions has no column WARD" in findings(
        tmp_path, *given
    )


@pytest.mark.parametrize("form", ["fhir", "mimic4"])
def test_tables_of_another_format_are_looked_at(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = {"fhir": shapes.write_fhir, "mimic4": shapes.write_mimic4}
    write[form](shapes.common(make_hospital(patients=20, seed=3)), tmp_path / "in")
    file = tmp_path / "ours.yaml"
    given = ["init", str(file), f"--format={form}", f"--folder={tmp_path}/in", "--out=/x/y"]
    monkeypatch.setattr(sys, "argv", ["readmit", *given])
    assert readmit.main() == 0
    config = load_config(file)
    assert (config.data.format, config.data.notes) == (form, "/x/y")
    found = [str(finding) for finding in check(config, {"PATH": "/usr/bin:/bin"})]
    missing = [line for line in found if line.startswith("missing") and "disk" not in line]
    if form == "fhir":
        assert "data.time_zone is not set" in missing.pop()
    assert missing == []
    stays = {"fhir": "Encounter*", "mimic4": "hosp/admissions*"}[form]
    for file in (tmp_path / "in").glob(stays):
        file.unlink()
    found = [str(finding) for finding in check(config, {"PATH": "/usr/bin:/bin"})]
    assert any(line.startswith("missing") and "is missing in" in line for line in found)


def test_init_wants_one_kind_of_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (["--format=fhir"], ["--notes=x"], ["--format=fhir", "--folder=x", "--notes=y"]):
        monkeypatch.setattr(
            sys, "argv", ["readmit", "init", str(tmp_path / "a.yaml"), "--out=/x", *given]
        )
        with pytest.raises(SystemExit):
            readmit.main()
    monkeypatch.setattr(sys, "argv", [
        "readmit", "init", str(tmp_path / "a.yaml"), "--out=/x", "--format=xml", "--folder=y",
    ])  # fmt: skip
    assert readmit.main() == 2
    assert "data.format" in capsys.readouterr().err and not (tmp_path / "a.yaml").exists()


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
