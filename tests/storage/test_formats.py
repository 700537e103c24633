"""The demo hospital in other shapes: the tables of prepare are those of MIMIC-III's shape."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.demo.hospital import Hospital
from readmit_spark.errors import UserError
from readmit_spark.nightly.in_house import (
    admissions_at,
    in_house,
    night_notes,
    night_rule,
    split_counts,
)
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.formats import mimic4
from readmit_spark.storage.formats.fhir_text import check_readable, text_of
from readmit_spark.storage.formats.mapping_file import read_mapping
from readmit_spark.storage.formats.plain_notes import as_plain, with_form
from readmit_spark.storage.formats.shape import FORM, Coded, check_codes
from readmit_spark.storage.ingest_job import ingest, summary_lines
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.table_source import ingested_format
from tests import shapes
from tests.runs import run_prepare, start_run
from tests.spark_options import ROOT

Tables = dict[str, list[dict[str, Any]]]
TABLES = ("cohort", "exclusions", "unlabelled", "subgroups", "documents", "chunks")


class Ward:
    """Ingests and prepares hospitals in one folder."""

    def __init__(
        self, spark: SparkSession, tokenizer: ChunkTokenizer, folder: Path, known: dict[str, Tables]
    ) -> None:
        self.spark, self.tokenizer, self.folder, self.known = spark, tokenizer, folder, known

    def ingest(self, form: str, *settings: str) -> tuple[dict[str, Any], list[str]]:
        """Ingest what the folder `in` holds; return facts and lines."""
        root = f"{self.folder}/raw"
        given = [f"data.format={form}", f"data.folder={self.folder}/in", f"output.root={root}"]
        config = load_config(overrides=[*given, "output.overwrite=true", *settings])
        with start_run(self.spark, config, "ingest") as run:
            facts = ingest(run)
        return facts, summary_lines(config, facts)

    def config(self, paths: Mapping[str, Any], *settings: str) -> Config:
        given = [f"data.{name}={path}" for name, path in paths.items()]
        more = [f"output.root={self.folder}/out", "output.overwrite=true", "model.max_tokens=128"]
        windows = "windows=[2days, 3days, discharge]"
        return load_config(overrides=[*given, *more, windows, *settings])

    def prepare(self, paths: Mapping[str, Any]) -> Tables:
        """Return the tables that prepare publishes, of the subgroups where the patients went."""
        config = self.config(paths)
        run_prepare(self.spark, config, self.tokenizer)
        path = Prepared.read(self.spark, config.output_root).path
        columns = {"subgroups": ["hadm_id", "discharge_to"]}
        return {
            name: sorted(
                pq.read_table(f"{path}/{name}", columns=columns.get(name)).to_pylist(), key=str
            )
            for name in TABLES
        }

    def night(self, paths: Mapping[str, Any], as_of: datetime) -> Tables:
        """Return the notes that a night reads of the patients in the house."""
        config = self.config(paths)
        with start_run(self.spark, config, "nightly") as run:
            distinct, _ = all_admissions(run)
            house = in_house(admissions_at(distinct, as_of), as_of, config)
            rule, counts = night_rule(config, as_of), Observation("notes")
            notes = read_checked_notes(self.spark, config).rows
            read = night_notes(notes, house, rule, counts, Observation("repeated"))
            rows = [row.asDict() for row in read.collect()]
            return {"house": sorted(map(str, house.collect())), "notes": sorted(rows, key=str),
                    "counts": [split_counts(counts)[0]]}  # fmt: skip

    def raw(self, names: Iterable[str]) -> Mapping[str, str]:
        """Return the paths of what ingest wrote."""
        return dict.fromkeys(names, f"{self.folder}/raw")

    def check_same_tables(self, facts: Mapping[str, Any], hospital: Hospital) -> None:
        """Prepare makes the same tables of what ingest wrote and of the hospital's own CSVs."""
        names = list(facts["sources"])
        key = f"{len(hospital.notes)} {hospital.notes.STORETIME.count()} {names}"
        if key not in self.known:
            self.known[key] = self.prepare(csv_paths(self.folder, hospital, names))
        expected, found = self.known[key], self.prepare(self.raw(names))
        assert all(expected[name] for name in ("cohort", "documents", "chunks"))
        for name in TABLES:
            assert found[name] == expected[name], name

    def check_same_nights(self, hospital: Hospital) -> None:
        """A night reads the same of what ingest wrote and of the hospital's own CSVs."""
        names = ("admissions", "notes")
        paths = csv_paths(self.folder, hospital, names)
        stay = hospital.admissions[hospital.admissions.HADM_ID.isin(hospital.notes.HADM_ID)].iloc[3]
        for hours in (12, 30):  # the first note is stored ten hours after the admission
            as_of = (stay.ADMITTIME + pd.Timedelta(hours=hours)).to_pydatetime()
            expected = self.night(paths, as_of)
            assert expected["notes"] and self.night(self.raw(names), as_of) == expected


def csv_paths(folder: Path, hospital: Hospital, names: Iterable[str]) -> dict[str, Path]:
    write_hospital(hospital, folder / "csv")
    files = {"admissions": "ADMISSIONS", "notes": "NOTEEVENTS", "patients": "PATIENTS"}
    return {name: folder / "csv" / f"{files[name]}.csv" for name in names}


@pytest.fixture(scope="module")
def known() -> dict[str, Tables]:
    """The tables of hospitals in MIMIC-III's shape, so that each is prepared once."""
    return {}


@pytest.fixture
def ward(
    spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path, known: dict[str, Tables]
) -> Ward:
    return Ward(spark, tokenizer, tmp_path, known)


def text_columns(names: str) -> str:
    return ", ".join(f"{name} string" for name in names.split())


def check_account(facts: dict[str, Any]) -> None:
    for account in facts["sources"].values():
        left_out = sum(account["left_out"].values())
        assert account["rows_read"] == account["rows"] + account["joined"] + left_out


HOSPITAL = shapes.common(make_hospital(patients=15, seed=11))


def test_codes_without_a_meaning_are_named(spark: SparkSession) -> None:
    kinds = ["Urgent", "SURGICAL  same day admission", None, "WALK IN", "WALK IN", "Jane Doe"]
    rows = spark.createDataFrame([(kind,) for kind in kinds], "ADMISSION_TYPE string")
    coded = Coded(rows, rows["ADMISSION_TYPE"], mimic4.TYPES, "data.folder: ADMISSION_TYPE")
    with pytest.raises(UserError) as error:
        check_codes(coded)
    assert str(error.value) == (
        "data.folder: ADMISSION_TYPE: 3 values have no meaning here: WALK IN 2, 1 not shown; "
        "nothing was published"
    )
    check_codes(replace(coded, rows=rows.limit(3)))


@pytest.mark.spark4
def test_mimic4_admissions(spark: SparkSession) -> None:
    columns = (
        "SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE HOSPITAL_EXPIRE_FLAG "
        "RACE ETHNICITY INSURANCE DISCHARGE_LOCATION"
    )
    rows = [
        ("1", "11", "a", "d", None, "SURGICAL SAME DAY ADMISSION", "0", "WHITE", None, "Other",
         "HOME HEALTH CARE"),
        ("1", "12", "a", "d", None, "EW EMER.", "1", None, "ASIAN", None, "DIED"),
        ("1", "13", "a", "d", "t", "OBSERVATION ADMIT", "1", None, None, None, None),
        ("2", "14", "a", "d", None, "EU OBSERVATION", "0", None, None, None, "ELOPED"),
        # A no-break space: `check_codes` accepts it too.
        ("2", "15", "a", "d", None, "Elective\u00a0", "0", None, None, None, "Acute\u00a0Hospital"),
    ]  # fmt: skip
    people = spark.createDataFrame(
        [("1", "2101-05-05"), ("2", None)], text_columns("SUBJECT_ID DOD")
    )
    selected = mimic4.admissions(spark.createDataFrame(rows, text_columns(columns)), people)
    got = selected.orderBy("HADM_ID").select(
        "HADM_ID", "DEATHTIME", "ADMISSION_TYPE", "ETHNICITY", "PLANNED", "STAY", "DISCHARGE_TO",
        "DIED", "LEFT_OUT",
    )  # fmt: skip
    assert [tuple(row) for row in got.collect()] == [
        ("11", None, "ELECTIVE", "WHITE", "yes", "inpatient", "home", "2101-05-05", None),
        ("12", "d", "EMERGENCY", "ASIAN", "no", "inpatient", "died", "2101-05-05", None),
        ("13", "t", "URGENT", None, "no", "inpatient", None, "2101-05-05", None),
        ("14", None, "EMERGENCY", None, "no", "observation", "against_advice", None, None),
        ("15", None, "ELECTIVE", None, "yes", "inpatient", "acute", None, None),
    ]


@pytest.mark.spark4
def test_mimic4_addenda_belong_to_the_summary_before_them(spark: SparkSession) -> None:
    columns = "NOTE_ID SUBJECT_ID HADM_ID NOTE_TYPE NOTE_SEQ CHARTTIME STORETIME TEXT"
    day = "2101-01-0"
    rows = [
        ("1-AD-2", "1", "11", "AD", "2", f"{day}3 00:00:00", f"{day}4 10:00:00", "second"),
        ("1-DS-1", "1", "11", "DS", "1", f"{day}3 00:00:00", f"{day}3 10:00:00", "summary"),
        ("1-AD-1", "1", "11", "AD", "1", f"{day}3 00:00:00", None, "first"),
        ("1-DS-3", "1", "11", "DS", "3", f"{day}5 00:00:00", None, "new summary"),
        ("2-AD-9", "2", "21", "AD", "9", f"{day}5 08:00:00", None, "alone"),
    ]
    raw = spark.createDataFrame(rows, text_columns(columns))
    got = (
        mimic4.notes(mimic4.joined_addenda(raw))
        .orderBy("ROW_ID")
        .select("ROW_ID", "CHARTDATE", "CHARTTIME", "STORETIME", "TEXT", "SOURCE_ROWS", "LEFT_OUT")
    )
    assert [tuple(row) for row in got.collect()] == [
        ("1000001", f"{day}3", None, f"{day}4 10:00:00", "summary\nfirst\nsecond", 3, None),
        ("1000003", f"{day}5", None, None, "new summary", 1, None),
        ("2100009", f"{day}5", f"{day}5 08:00:00", None, "alone", 1, "addendum_without_summary"),
    ]


def test_mimic4_gives_the_tables_of_mimic3(ward: Ward) -> None:
    hospital = shapes.common(HOSPITAL, shapes.SUMMARY, "Radiology")
    shapes.write_mimic4(hospital, ward.folder / "in")
    facts, lines = ward.ingest("mimic4")
    check_account(facts)
    ward.check_same_tables(facts, hospital)
    assert f"read it with --set data.notes={ward.folder}/raw" in lines


@pytest.mark.spark4
def test_fhir_gives_the_tables_of_mimic3(ward: Ward) -> None:
    shapes.write_fhir(HOSPITAL, ward.folder / "in")
    facts, _ = ward.ingest("fhir", "data.time_zone=Asia/Kolkata")
    check_account(facts)
    assert {name: table["left_out"] for name, table in facts["sources"].items()} == {
        "admissions": {"other_class": 1, "other_status": 1},
        "notes": {
            "also_a_document": 1, "attachment_elsewhere": 1, "not_final": 1, "other_status": 1
        },
        "patients": {},
    }  # fmt: skip
    ward.check_same_tables(facts, HOSPITAL)
    ward.check_same_nights(HOSPITAL)


@pytest.mark.parametrize(
    "name", ["clarity", *(pytest.param(n, marks=pytest.mark.slow) for n in ("millennium", "meds"))]
)
def test_a_mapping_gives_the_tables_of_mimic3(ward: Ward, name: str) -> None:
    path = f"{ROOT}/conf/sources/{name}.yaml"
    mapped = read_mapping(path)
    hospital = HOSPITAL if name != "meds" else shapes.as_meds_says(HOSPITAL)
    shapes.write_mapped(hospital, mapped, ward.folder / "in")
    facts, _ = ward.ingest(path)
    check_account(facts)
    for key, table in facts["sources"].items():
        assert bool(table["left_out"]) == bool(mapped.tables[key].keep)
    assert (facts["sources"]["notes"]["joined"] > 0) == (name == "clarity")
    ward.check_same_tables(facts, hospital)
    if name == "clarity":
        ward.check_same_nights(hospital)


def test_notes_in_rtf_and_html_become_plain_text(ward: Ward) -> None:
    """Of any format but mimic3: here OMOP's."""
    hospital = shapes.as_omop_says(HOSPITAL)
    texts = list(hospital.notes.TEXT)
    simple = [i for i, text in enumerate(texts) if text and " ".join(text.split()) in
              text.replace("\n", " ") and "\n\n" not in text and text == text.strip()]  # fmt: skip
    rtf, html = simple[:5], simple[5:9]
    for i in rtf:
        texts[i] = shapes.as_rtf(texts[i])
    for i in html:
        lines = "</p><p>".join(map(escape, texts[i].split("\n")))
        texts[i] = f" <html><body><p>{lines}</p></body></html>"
    marked = replace(hospital, notes=hospital.notes.assign(TEXT=texts))
    shapes.write_omop(marked, ward.folder / "in")
    facts, lines = ward.ingest("omop")
    check_account(facts)
    assert facts["sources"]["notes"]["converted"] == {"rtf": 5, "html": 4}
    assert any("5 converted from RTF" in line and "4 converted from HTML" in line for line in lines)
    ward.check_same_tables(facts, hospital)


@pytest.mark.spark4
def test_an_attachment_says_what_it_is(spark: SparkSession) -> None:
    def attachment(kind: str, text: str) -> tuple[str, str]:
        return kind, base64.b64encode(text.encode()).decode()

    rows = [
        ([attachment("text/html; charset=utf-8", "K <b>4.5</b>")],),
        ([attachment("application/rtf", "{\\rtf1 K 4.5}"), attachment("text/plain", "plain")],),
        ([attachment("text/rtf", "{\\rtf1 K 4.5}"), ("application/pdf", "JVBERg==")],),
        ([("application/pdf", "JVBERg==")],),
    ]
    schema = "attachments array<struct<contentType: string, data: string>>"
    read = spark.createDataFrame(rows, schema).select(text_of(F.col("attachments")).alias("READ"))
    notes = read.select(F.col("READ.text").alias("TEXT"), F.col("READ.form").alias(FORM), "READ")
    got = with_form(notes).select(as_plain().alias("TEXT"), FORM, "READ.reason").collect()
    assert [tuple(row) for row in got] == [
        ("K 4.5", "html", None),
        ("plain", None, None),
        ("K 4.5", "rtf", None),
        (None, None, "attachment_of_another_type"),
    ]


def test_an_export_of_mostly_unreadable_attachments_is_refused(spark: SparkSession) -> None:
    def notes(*reasons: str | None) -> dict[str, DataFrame]:
        return {"notes": spark.createDataFrame([(r,) for r in reasons], "LEFT_OUT string")}

    config = load_config()
    pdf, elsewhere, laboratory = (
        "attachment_of_another_type", "attachment_elsewhere", "no_attachment"
    )  # fmt: skip
    check_readable(notes(None, None, pdf, elsewhere, laboratory, laboratory, "not_final"), config)
    message = r"3 of 5 notes have no attachment that is read \(2 attachment_of_another_type, 1 att"
    with pytest.raises(UserError, match=message):
        check_readable(notes(None, None, pdf, pdf, elsewhere), config)


def test_notes_in_lines_need_the_mapping_to_say_so(ward: Ward) -> None:
    path = f"{ROOT}/conf/sources/millennium.yaml"
    lines = [HOSPITAL.notes, HOSPITAL.notes.assign(TEXT="the second line")]
    shapes.write_mapped(
        replace(HOSPITAL, notes=pd.concat(lines)), read_mapping(path), ward.folder / "in"
    )
    with pytest.raises(UserError, match=r"NOTES: .* rows share EVENT_ID .* needs lines: under"):
        ward.ingest(path)


def test_omop_gives_the_tables_of_mimic3(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = shapes.as_omop_says(HOSPITAL)
    shapes.write_omop(hospital, ward.folder / "in")
    facts, _ = ward.ingest("omop")
    check_account(facts)
    assert facts["sources"]["admissions"]["left_out"] == {"other_visit": 1}
    ward.check_same_tables(facts, hospital)
    assert ingested_format(ward.spark, f"{ward.folder}/raw") == "omop"
    monkeypatch.setenv("HOME", str(ward.folder))
    assert ingested_format(ward.spark, "~/raw") == "omop"
