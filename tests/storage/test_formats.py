"""The demo hospital in other shapes: the tables of prepare are those of MIMIC-III's shape."""

from __future__ import annotations

import base64
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.config_file import load_config
from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.demo.hospital import Hospital
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.formats import mimic4
from readmit_spark.storage.formats.fhir_text import text_of
from readmit_spark.storage.formats.mapping_file import read_mapping
from readmit_spark.storage.formats.plain_notes import as_plain, with_form
from readmit_spark.storage.formats.shape import FORM, Coded, check_codes
from readmit_spark.storage.ingest_job import ingest, summary_lines
from readmit_spark.storage.input_tables import read_admissions, read_notes, read_patients
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.table_source import ingested_format
from tests import shapes
from tests.runs import run_prepare, start_run
from tests.spark_options import ROOT

pytestmark = pytest.mark.spark4

TABLES = ("cohort", "exclusions", "unlabelled", "documents", "chunks")


class Ward:
    """Ingests and prepares hospitals in one folder."""

    def __init__(self, spark: SparkSession, tokenizer: ChunkTokenizer, folder: Path) -> None:
        self.spark, self.tokenizer, self.folder = spark, tokenizer, folder

    def ingest(self, form: str, *settings: str) -> tuple[dict[str, Any], list[str]]:
        """Ingest what the folder `in` holds; return facts and lines."""
        root = f"{self.folder}/raw"
        given = [f"data.format={form}", f"data.folder={self.folder}/in", f"output.root={root}"]
        config = load_config(overrides=[*given, "output.overwrite=true", *settings])
        with start_run(self.spark, config, "ingest") as run:
            facts = ingest(run)
        return facts, summary_lines(config, facts)

    def prepare(self, paths: dict[str, Any], *settings: str) -> dict[str, list[dict[str, Any]]]:
        """Return the tables that prepare publishes."""
        given = [f"data.{name}={path}" for name, path in paths.items()]
        more = [f"output.root={self.folder}/out", "output.overwrite=true", "model.max_tokens=128"]
        windows = "windows=[2days, 3days, discharge]"
        config = load_config(overrides=[*given, *more, windows, *settings])
        run_prepare(self.spark, config, self.tokenizer)
        path = Prepared.read(self.spark, config.output_root).path
        return {
            name: sorted(pq.read_table(f"{path}/{name}").to_pylist(), key=str) for name in TABLES
        }

    def from_ingest(self, *settings: str) -> dict[str, list[dict[str, Any]]]:
        names = ("admissions", "notes", "patients")
        return self.prepare(dict.fromkeys(names, f"{self.folder}/raw"), *settings)

    def from_csv(self, hospital: Hospital) -> dict[str, list[dict[str, Any]]]:
        csv = self.folder / "csv"
        write_hospital(hospital, csv)
        names = {"admissions": "ADMISSIONS", "notes": "NOTEEVENTS", "patients": "PATIENTS"}
        return self.prepare({key: csv / f"{name}.csv" for key, name in names.items()})


@pytest.fixture
def ward(spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path) -> Ward:
    return Ward(spark, tokenizer, tmp_path)


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


def test_mimic4_admissions(spark: SparkSession) -> None:
    columns = (
        "SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE HOSPITAL_EXPIRE_FLAG "
        "RACE ETHNICITY INSURANCE"
    )
    rows = [
        ("1", "11", "a", "d", None, "SURGICAL SAME DAY ADMISSION", "0", "WHITE", None, "Other"),
        ("1", "12", "a", "d", None, "EW EMER.", "1", None, "ASIAN", None),
        ("1", "13", "a", "d", "t", "OBSERVATION ADMIT", "1", None, None, None),
        ("1", "14", "a", "d", None, "EU OBSERVATION", "0", None, None, None),
        # A no-break space: `check_codes` accepts it too.
        ("1", "15", "a", "d", None, "Elective\u00a0", "0", None, None, None),
    ]
    selected = mimic4.admissions(spark.createDataFrame(rows, text_columns(columns)))
    got = selected.orderBy("HADM_ID").select(
        "HADM_ID", "DEATHTIME", "ADMISSION_TYPE", "ETHNICITY", "LEFT_OUT"
    )
    assert [tuple(row) for row in got.collect()] == [
        ("11", None, "ELECTIVE", "WHITE", None),
        ("12", "d", "EMERGENCY", "ASIAN", None),
        ("13", "t", "URGENT", None, None),
        ("14", None, None, None, "observation"),
        ("15", None, "ELECTIVE", None, None),
    ]


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
    expected = ward.from_csv(hospital)
    assert all(expected[name] for name in ("cohort", "documents", "chunks"))
    shapes.write_mimic4(hospital, ward.folder / "in")
    facts, lines = ward.ingest("mimic4")
    check_account(facts)
    assert ward.from_ingest() == expected
    assert f"read it with --set data.notes={ward.folder}/raw" in lines


def rows_read(spark: SparkSession, paths: dict[str, Any]) -> dict[str, list[str]]:
    """Return what the jobs read of each table."""
    readers = {"admissions": read_admissions, "notes": read_notes, "patients": read_patients}
    return {
        name: sorted(map(str, readers[name](spark, str(path)).drop("malformed").collect()))
        for name, path in paths.items()
    }


def check_same_rows(ward: Ward, facts: dict[str, Any], hospital: Hospital) -> None:
    """What ingest wrote is read as the hospital's own tables are."""
    write_hospital(hospital, ward.folder / "csv")
    names = {"admissions": "ADMISSIONS", "notes": "NOTEEVENTS", "patients": "PATIENTS"}
    names = {name: file for name, file in names.items() if name in facts["sources"]}
    csv = {name: ward.folder / "csv" / f"{file}.csv" for name, file in names.items()}
    expected = rows_read(ward.spark, csv)
    assert all(expected.values())
    assert rows_read(ward.spark, dict.fromkeys(names, f"{ward.folder}/raw")) == expected


def test_fhir_gives_the_rows_of_mimic3(ward: Ward) -> None:
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
    check_same_rows(ward, facts, HOSPITAL)


@pytest.mark.parametrize("name", ["clarity", "millennium", "meds"])
def test_a_mapping_gives_the_rows_of_mimic3(ward: Ward, name: str) -> None:
    path = f"{ROOT}/conf/sources/{name}.yaml"
    mapped = read_mapping(path)
    hospital = HOSPITAL if name != "meds" else shapes.as_meds_says(HOSPITAL)
    shapes.write_mapped(hospital, mapped, ward.folder / "in")
    facts, _ = ward.ingest(path)
    check_account(facts)
    for key, table in facts["sources"].items():
        assert bool(table["left_out"]) == bool(mapped.tables[key].keep)
    assert (facts["sources"]["notes"]["joined"] > 0) == (name == "clarity")
    check_same_rows(ward, facts, hospital)


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
    check_same_rows(ward, facts, hospital)


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


def test_omop_gives_the_rows_of_mimic3(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = shapes.as_omop_says(HOSPITAL)
    shapes.write_omop(hospital, ward.folder / "in")
    facts, _ = ward.ingest("omop")
    check_account(facts)
    assert facts["sources"]["admissions"]["left_out"] == {"other_visit": 1}
    check_same_rows(ward, facts, hospital)
    assert ingested_format(ward.spark, f"{ward.folder}/raw") == "omop"
    monkeypatch.setenv("HOME", str(ward.folder))
    assert ingested_format(ward.spark, "~/raw") == "omop"
