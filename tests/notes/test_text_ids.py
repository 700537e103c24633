"""Ids that are texts: the same tables as with whole numbers, and no id in a line of a job."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.text_ids import number_of
from tests.runs import run_prepare
from tests.tables_in import Row, note, stay, words, write_csv

STAYS = [
    stay(1, 11, "2020-01-01", "2020-01-05"),
    stay(1, 12, "2020-01-20", "2020-01-25"),
    stay(2, 21, "2020-01-01", "2020-01-05"),
    stay(3, 31, "2020-01-01", "2020-01-05", "NEWBORN"),
]
NOTES = [
    note(1, 1, 11, words(20), time="08:00:00"),
    note(2, 1, 11, words(20, 30), time="09:00:00"),
    note(3, 1, 12, words(20, 60), "2020-01-20"),
    note(4, 2, 21, words(40, 90)),
    note(5, 3, 31, words(20)),
    note(6, 2, 99, words(20)),  # no such admission
    note(7, 2, None, words(20)),
]
SECRET = "zqx"
COLUMNS = ("SUBJECT_ID", "HADM_ID", "ROW_ID")


def as_text(column: str, value: str | None) -> str | None:
    return value and f"{SECRET}-{column[0]}/{int(value):04}"


def with_text_ids(rows: Sequence[Row]) -> list[Row]:
    return [{k: as_text(k, v) if k in COLUMNS else v for k, v in row.items()} for row in rows]


class Hospital:
    def __init__(self, spark: SparkSession, tokenizer: ChunkTokenizer, folder: Path) -> None:
        self.spark, self.tokenizer, self.folder = spark, tokenizer, folder
        self.log = io.StringIO()

    def run(self, stays: Sequence[Row], notes: Sequence[Row], *settings: str) -> dict[str, Any]:
        config = load_config(
            overrides=[
                f"data.admissions={write_csv(self.folder / 'A.csv', stays)}",
                f"data.notes={write_csv(self.folder / 'N.csv', notes)}",
                f"output.root={self.folder}/out",
                "output.overwrite=true",
                "windows=[2days]",
                "model.max_tokens=128",
                *settings,
            ]
        )
        return run_prepare(self.spark, config, self.tokenizer, self.log)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        prepared = Prepared.read(self.spark, f"{self.folder}/out")
        return {
            name: pq.read_table(f"{prepared.path}/{name}").to_pylist() for name in prepared.tables
        }


@pytest.fixture
def hospital(spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path) -> Hospital:
    return Hospital(spark, tokenizer, tmp_path)


def rows_of(table: Sequence[Mapping[str, Any]], ids: Mapping[int, str]) -> list[str]:
    """Return the rows with the hospital's ids, without what is drawn by a hash of the id."""
    drawn = ("split", "fold")
    return sorted(
        str(
            {k: ids.get(v, v) if k.endswith("_id") else v for k, v in row.items() if k not in drawn}
        )
        for row in table
    )


def test_text_ids_give_the_tables_of_whole_numbers(hospital: Hospital) -> None:
    facts = hospital.run(STAYS, NOTES)
    numbers = hospital.tables()
    assert "ids" not in numbers
    text_facts = hospital.run(with_text_ids(STAYS), with_text_ids(NOTES), "data.ids=text")
    texts = hospital.tables()
    assert (facts["admissions"], facts["notes"]) == (text_facts["admissions"], text_facts["notes"])
    assert facts["notes"]["unknown_admission"] == 1
    ids = {row["id"]: row["text"] for row in texts.pop("ids")}
    assert sorted(ids.values()) == sorted(
        {row[k] or "" for row in with_text_ids([*STAYS, *NOTES]) for k in row if k in COLUMNS}
        - {""}
    )
    given = {int(text[-4:]): text for text in ids.values() if "-R" not in text}
    for name, table in numbers.items():
        assert rows_of(texts[name], ids) == rows_of(table, given), name
    assert SECRET not in hospital.log.getvalue()


@pytest.mark.slow
def test_whole_numbers_are_the_same_with_either_key(hospital: Hospital) -> None:
    hospital.run(STAYS, NOTES)
    numbers = hospital.tables()
    hospital.run(STAYS, NOTES, "data.ids=text")
    texts = hospital.tables()
    assert texts.pop("ids") == []
    assert {name: sorted(map(str, rows)) for name, rows in texts.items()} == {
        name: sorted(map(str, rows)) for name, rows in numbers.items()
    }


def test_a_line_names_the_key_and_no_id(hospital: Hospital) -> None:
    with pytest.raises(UserError) as error:
        hospital.run(with_text_ids(STAYS), with_text_ids(NOTES))
    assert "4 of 4 values of SUBJECT_ID are not understood" in str(error.value)
    assert "with data.ids=text also texts" in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.spark4
def test_two_ids_of_one_hash_stop_the_job(spark: SparkSession, hospital: Hospital) -> None:
    text = f"{SECRET}-1"
    config = load_config(overrides=["data.ids=text"])
    number = number_of(spark, config, text, "--admission")
    assert spark.range(1).select(F.xxhash64(F.lit(text))).collect()[0][0] == number
    stays = [{**STAYS[0], "SUBJECT_ID": text}, {**STAYS[2], "SUBJECT_ID": str(number)}]
    with pytest.raises(UserError) as error:
        hospital.run(stays, NOTES, "data.ids=text")
    assert "1 hashes of 64 bits stand for two different ids each" in str(error.value)
    assert SECRET not in str(error.value) and str(number) not in str(error.value)


def test_an_id_that_is_given_to_a_job(spark: SparkSession) -> None:
    assert number_of(spark, load_config(), " 12", "--admission") == 12
    assert number_of(spark, load_config(), "-12", "--admission") == -12
    text = load_config(overrides=["data.ids=text"])
    assert number_of(spark, text, "12", "--admission") == 12
    assert number_of(spark, text, " 012 ", "--admission") != 12
    for config, given in ((load_config(), SECRET), (text, "=1")):
        with pytest.raises(UserError, match=r"^--admission: a whole number is needed") as error:
            number_of(spark, config, given, "--admission")
        assert given not in str(error.value)
