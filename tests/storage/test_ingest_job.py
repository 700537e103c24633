"""CSV to Parquet: read as the CSV is, checked against it, and complete or absent."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage import check_csv, ingest_job
from readmit_spark.storage.ingest_job import ingest
from readmit_spark.storage.input_tables import read_admissions, read_notes
from readmit_spark.storage.publish import Publication, read_manifest
from tests.odd_cohort import odd_cohort
from tests.runs import run_prepare, start_run
from tests.tables_in import note, stay, words, write_csv

SECRET = "zqxcanary"

Ingest = Callable[..., dict[str, Any]]


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Ingest:
    """Return a function that ingests the files into tmp_path/raw and returns the facts."""

    def run(notes: str, *settings: str) -> dict[str, Any]:
        config = load_config(
            overrides=[f"data.notes={notes}", f"output.root={tmp_path}/raw", *settings]
        )
        with start_run(spark, config, "ingest", overwrite=config.output.overwrite) as ingest_run:
            return ingest(ingest_run)

    return run


def in_order(frame: Any, *keys: str) -> list[Any]:
    return sorted(
        frame.collect(), key=lambda row: tuple(str(row[k]) for k in (*keys, *row.asDict()))
    )


@pytest.mark.parametrize(("end", "gz"), [("\n", ""), ("\r\n", ".gz"), ("\r", "")])
def test_the_odd_cohort_is_read_from_parquet_as_from_csv(
    spark: SparkSession, run: Ingest, tmp_path: Path, end: str, gz: str
) -> None:
    stays, notes = odd_cohort()
    admissions = write_csv(tmp_path / f"ADMISSIONS.csv{gz}", stays, end)
    noteevents = write_csv(tmp_path / f"NOTEEVENTS.csv{gz}", notes, end)
    facts = run(noteevents, f"data.admissions={admissions}")
    raw = f"{tmp_path}/raw"
    for read, path, name, key in (
        (read_admissions, admissions, "admissions", "hadm_id"),
        (read_notes, noteevents, "notes", "row_id"),
    ):
        expected = in_order(read(spark, path), key)
        assert in_order(read(spark, raw), key) == expected
        assert facts["sources"][name]["rows"] == len(expected)
    assert facts["sources"]["notes"]["columns"]["TEXT"]["nulls"] == sum(
        n["TEXT"] is None for n in notes
    )


def test_invalid_utf8_is_read_as_spark_reads_it(
    spark: SparkSession, run: Ingest, tmp_path: Path
) -> None:
    rng = random.Random(3)
    raw = bytearray(b"ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n")
    pieces = [b"\xed\xa0\xbd", b"\xf0\x9f", b"\xe2\x82", b"\xc0\x80", b"\xff", b"a ", b"\xe9t",
              "é😀".encode(), b"\xf4\x90\x80\x80", b"\xed\xb0"]  # fmt: skip
    for i in range(300):
        text = b"".join(rng.choices(pieces, k=rng.randrange(6)))
        raw += b'%d,1,1,2020-01-01,,Nursing,,"%s."\n' % (i, text)
    (tmp_path / "n.csv").write_bytes(bytes(raw))
    run(f"{tmp_path}/n.csv")
    of_parquet = in_order(read_notes(spark, f"{tmp_path}/raw"), "row_id")
    of_csv = in_order(read_notes(spark, f"{tmp_path}/n.csv"), "row_id")
    assert of_parquet == of_csv


def test_a_table_is_split_by_size_without_losing_rows(
    spark: SparkSession, run: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_job, "_ROW_GROUP_BYTES", 20_000)
    monkeypatch.setattr(ingest_job, "_PART_BYTES", 10_000)
    monkeypatch.setattr(ingest_job, "read_batches", partial(ingest_job.read_batches, block=1 << 14))
    rng = random.Random(1)
    texts = ["".join(rng.choices('abcdef\n ,"', k=rng.randrange(1000))) for _ in range(500)]
    run(write_csv(tmp_path / "n.csv", [note(i, 1, 1, text) for i, text in enumerate(texts)]))
    published = read_manifest(spark, f"{tmp_path}/raw", "ingest")
    files = published["tables"]["notes"]["files"]
    assert len(files) > 4
    assert all(10_000 < size < 40_000 for size in list(files.values())[:-1])
    assert [r["TEXT"] for r in pq.read_table(f"{published['path']}/notes").to_pylist()] == texts


def test_prepare_makes_the_same_chunks_of_csv_and_parquet(
    spark: SparkSession, run: Ingest, tokenizer: ChunkTokenizer, tmp_path: Path
) -> None:
    stays = [stay(i, i * 10, "2020-01-01", "2020-01-05") for i in range(1, 6)]
    notes = [note(i, i, i * 10, f'{words(20, i)}\n"quoted", and') for i in range(1, 6)]
    admissions = write_csv(tmp_path / "a.csv", stays)
    run(write_csv(tmp_path / "n.csv.gz", notes), f"data.admissions={admissions}")
    chunks = []
    for name, data in (("csv", ("a.csv", "n.csv.gz")), ("parquet", ("raw", "raw"))):
        config = load_config(
            overrides=[f"data.admissions={tmp_path}/{data[0]}", f"data.notes={tmp_path}/{data[1]}",
                       f"output.root={tmp_path}/{name}", "windows=[2days]",
                       "model.max_tokens=128"]
        )  # fmt: skip
        run_prepare(spark, config, tokenizer)
        path = read_manifest(spark, f"{tmp_path}/{name}", "prepare")["path"]
        chunks.append(sorted(map(str, pq.read_table(f"{path}/chunks").to_pylist())))
    assert chunks[0] == chunks[1] and chunks[0]


def test_prepare_recommends_ingest_for_a_large_csv(
    spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "a.csv", [stay(1, 10, "2020-01-01", "2020-01-05")])
    write_csv(tmp_path / "n.csv", [note(1, 1, 10, words(20))])
    assert check_csv.large_csv_bytes(spark, f"{tmp_path}/n.csv", "data.notes") is None
    monkeypatch.setattr(check_csv, "_LARGE", 100)
    out = io.StringIO()
    config = load_config(
        overrides=[f"data.admissions={tmp_path}/a.csv", f"data.notes={tmp_path}/n.csv",
                   f"output.root={tmp_path}/out", "windows=[2days]", "model.max_tokens=128"]
    )  # fmt: skip
    run_prepare(spark, config, tokenizer, out)
    hints = [line for line in out.getvalue().splitlines() if "jobs/ingest.py" in line]
    assert len(hints) == 1 and "n.csv has 0 MB and is read by one task" in hints[0]


# --- errors ---------------------------------------------------------------------------------------


def result_files(root: Path) -> list[str]:
    """Return the files that a reader could take for a result."""
    return [p.name for p in root.rglob("*.parquet")] + [
        p.name for p in root.glob("_manifests/*.json")
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f'2,1,1,,,,,5" {SECRET}\n', r"n\.csv: line 4 has a quote in the middle"),
        (f"2,1,1,,,,,{SECRET},more\n", r"has 9 fields and its header has 8"),
    ],
)
def test_an_invalid_file_is_named_and_leaves_no_result(
    run: Ingest, tmp_path: Path, row: str, message: str
) -> None:
    path = Path(write_csv(tmp_path / "n.csv", [note(1, 1, 1, "two\nlines")]))
    path.write_text(path.read_text() + row)
    with pytest.raises(UserError, match=message) as error:
        run(str(path))
    assert SECRET not in str(error.value)
    assert result_files(tmp_path / "raw") == []


def test_a_missing_column_is_named_before_anything_is_written(run: Ingest, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text(f"ROW_ID,TEXT\n1,{SECRET}\n")
    with pytest.raises(UserError, match="lacks the columns SUBJECT_ID, HADM_ID"):
        run(f"{tmp_path}/n.csv")


def test_a_missing_file_and_nothing_to_ingest_are_errors(run: Ingest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.notes: .*none\.csv does not exist"):
        run(f"{tmp_path}/none.csv")
    pq.write_table(pa.table({"ROW_ID": [1]}), tmp_path / "n.parquet")
    with pytest.raises(UserError, match="nothing to ingest"):
        run(f"{tmp_path}/n.parquet")


def test_a_missing_file_is_an_error_before_another_is_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    notes = write_csv(tmp_path / "n.csv", [note(1, 1, 1, "a")])
    config = load_config(
        overrides=[f"data.notes={notes}", f"data.patients={tmp_path}/none.csv",
                   f"output.root={tmp_path}/raw"]
    )  # fmt: skip
    out = io.StringIO()
    with (
        pytest.raises(UserError, match=r"data\.patients: .*none\.csv does not exist"),
        start_run(spark, config, "ingest", out) as ingest_run,
    ):
        ingest(ingest_run)
    assert "write Parquet" not in out.getvalue()
    assert result_files(tmp_path / "raw") == []


def test_prepare_names_missing_notes(
    spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path
) -> None:
    admissions = write_csv(tmp_path / "a.csv", [stay(1, 10, "2020-01-01", "2020-01-05")])
    config = load_config(
        overrides=[f"data.admissions={admissions}", f"data.notes={tmp_path}/none.csv",
                   f"output.root={tmp_path}/out", "model.max_tokens=128"]
    )  # fmt: skip
    with pytest.raises(UserError, match=r"data\.notes: .*none\.csv does not exist"):
        run_prepare(spark, config, tokenizer)


def test_a_file_that_changes_during_ingest_is_an_error(
    run: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write_csv(tmp_path / "n.csv", [note(1, 1, 1, "text")]))
    read_again = ingest_job.read_again

    def changing(*arguments: Any) -> Any:
        path.write_text(path.read_text() + "2,1,1,,,,,x\n")
        return read_again(*arguments)

    monkeypatch.setattr(ingest_job, "read_again", changing)
    with pytest.raises(UserError, match="changed while it was read"):
        run(str(path))
    assert result_files(tmp_path / "raw") == []


@pytest.mark.parametrize("damage", ["byte", "row", "null"])
def test_wrongly_written_files_are_not_published(
    run: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    notes = [note(1, 1, 1, "text"), note(2, 1, 1, None)]
    read_batches = ingest_job.read_batches

    def damaged(*arguments: Any) -> Any:
        for batch in read_batches(*arguments):
            texts = batch["TEXT"].to_pylist()
            if damage == "byte":
                texts[0] = "tExt"
            columns = [*batch.columns[:-1], pa.array(texts, pa.string())]
            changed = pa.RecordBatch.from_arrays(columns, batch.schema.names)
            yield changed.slice(1) if damage == "row" else changed

    if damage == "null":  # parsed correctly, written wrongly
        write = ingest_job._ParquetParts.write

        def write_empty(self: Any, batch: Any) -> None:
            columns = [c.fill_null("") for c in batch.columns]
            write(self, pa.RecordBatch.from_arrays(columns, batch.schema.names))

        monkeypatch.setattr(ingest_job._ParquetParts, "write", write_empty)
    else:
        monkeypatch.setattr(ingest_job, "read_batches", damaged)
    with pytest.raises(RuntimeError, match=r"columns that differ: .*TEXT; nothing was published"):
        run(write_csv(tmp_path / "n.csv", notes))
    assert result_files(tmp_path / "raw") == []


def test_a_missing_ingested_table_names_the_existing_ones(
    spark: SparkSession, run: Ingest, tmp_path: Path
) -> None:
    run(write_csv(tmp_path / "n.csv", [note(1, 1, 1, "text")]))
    with pytest.raises(UserError, match=r"wrote no table of data\.admissions .* only of notes"):
        read_admissions(spark, f"{tmp_path}/raw")


def test_tables_of_an_ingest_that_died_are_not_read(
    spark: SparkSession, run: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Publication, "publish", _die)
        patch.setattr(Publication, "close", lambda self: self._lock.release())
        with pytest.raises(KeyboardInterrupt):
            run(write_csv(tmp_path / "n.csv", [note(1, 1, 1, "text")]))
    assert result_files(tmp_path / "raw") == ["part-00000.zstd.parquet"]
    with pytest.raises(UserError, match=r"holds the folder .*, not the files of one table"):
        read_notes(spark, f"{tmp_path}/raw")
    run(f"{tmp_path}/n.csv")
    assert read_notes(spark, f"{tmp_path}/raw").count() == 1
    assert (
        len(result_files(tmp_path / "raw")) == 2
    )  # the next run deletes the files of the dead run


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_sources_in_a_folder_of_the_root_that_is_named_like_the_job_are_read_and_kept(
    spark: SparkSession, run: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "raw" / "ingest"
    folder.mkdir(parents=True)
    source = Path(write_csv(folder / "n.csv", [note(1, 1, 1, "text")]))
    before = source.read_bytes()
    for _ in range(3):
        run(str(source), "output.overwrite=true")
    assert source.read_bytes() == before
    assert read_notes(spark, f"{tmp_path}/raw").count() == 1


def test_the_manifest_contains_no_text(run: Ingest, tmp_path: Path) -> None:
    run(write_csv(tmp_path / "n.csv", [note(1, 1, 1, SECRET)]))
    text = (tmp_path / "raw" / "_manifests" / "ingest.json").read_text()
    assert SECRET not in text and json.loads(text)["sources"]["notes"]["rows"] == 1


def read_parts(folder: Path) -> list[dict[str, Any]]:
    return [row for part in folder.glob("*/notes") for row in pq.read_table(part).to_pylist()]


def test_values_that_are_not_understood_are_counted_and_kept(
    spark: SparkSession, tmp_path: Path
) -> None:
    notes = [note(1, 1, 11, SECRET), note(2, 1, None, SECRET, "01/02/2020", category="DS")]
    stays = [stay(1, 11, SECRET, "2020-01-05"), stay(1, 12, "2020-01-01", "2020-01-05")]
    config = load_config(
        overrides=[
            f"data.notes={write_csv(tmp_path / 'n.csv', notes)}",
            f"data.admissions={write_csv(tmp_path / 'a.csv', stays)}",
            f"output.root={tmp_path}/raw",
        ]
    )
    log = io.StringIO()
    with start_run(spark, config, "ingest", log) as run:
        found = ingest(run)["sources"]
    assert found["notes"]["unread"] == {
        "row_id_unread": 0, "subject_id_unread": 0, "hadm_id_unread": 0, "chartdate_unread": 1,
        "charttime_unread": 0, "storetime_unread": 0, "iserror_unread": 0, "category_unread": 1,
    }  # fmt: skip
    assert found["admissions"]["unread"]["admittime_unread"] == 1
    assert "values that are not understood: CHARTDATE 1; CATEGORY (1 not shown) 1" in log.getvalue()
    assert SECRET not in log.getvalue()
    assert "01/02/2020" in str(read_parts(tmp_path / "raw" / "ingest"))
