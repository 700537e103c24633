"""prepare on empty and invalid input: error messages, and the results it leaves."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.publish import read_manifest
from tests.runs import run_prepare, run_score
from tests.tables_in import Row, note, stay, words, write_csv

STAYS = [stay(1, 11, "2020-01-01", "2020-01-05"), stay(2, 21, "2020-01-01", "2020-01-05")]
NOTES = [note(1, 1, 11, words(20)), note(2, 2, 21, words(30))]

Prepare = Callable[..., dict[str, Any]]


@pytest.fixture
def run(spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path) -> Prepare:
    """Return a function that prepares rows, or the bytes of a NOTEEVENTS.csv, into tmp_path/out.

    The function returns the facts of the manifest.
    """

    def run(
        stays: Sequence[Row] = STAYS, notes: Sequence[Row] | bytes = NOTES, *settings: str
    ) -> dict[str, Any]:
        path = tmp_path / ("NOTEEVENTS.csv.gz" if isinstance(notes, bytes) else "NOTEEVENTS.csv")
        if isinstance(notes, bytes):
            path.write_bytes(notes)
        else:
            write_csv(path, notes)
        config = load_config(
            overrides=[
                f"data.admissions={write_csv(tmp_path / 'ADMISSIONS.csv', stays)}",
                f"data.notes={path}",
                f"output.root={tmp_path}/out",
                "windows=[2days]",
                "model.max_tokens=128",
                *settings,
            ]
        )
        return run_prepare(spark, config, tokenizer)

    return run


def tables_left(root: Path) -> set[str]:
    return {path.name for path in root.glob("out/prepare/*/*")}


def at(root: Path, name: str) -> Path:
    """Return the folder of the current table."""
    manifest = json.loads((root / "out" / "_manifests" / "prepare.json").read_text())
    return root / "out" / manifest["run"] / name


@pytest.mark.parametrize(
    ("stays", "notes", "counted"),
    [
        (STAYS, [note(1, 5, 55, words(20))], {"unknown_admission": 1}),
        (
            STAYS,
            [note(1, 1, 11, "[**too short**] for a chunk")],
            {"available_from_chartdate": 1},
        ),
        (
            [stay(1, 11, "2020-01-01", "2020-01-05", "NEWBORN")],
            NOTES[:1],
            {"excluded_admission": 1},
        ),
    ],
)
def test_input_without_a_chunk_is_no_error(
    spark: SparkSession,
    run: Prepare,
    tmp_path: Path,
    tiny_model: str,
    stays: list[Row],
    notes: list[Row],
    counted: dict[str, int],
) -> None:
    counts = run(stays, notes)["notes"]
    assert {name: n for name, n in counts.items() if n} == {"notes": 1, **counted}
    assert pq.read_table(at(tmp_path, "chunks")).num_rows == 0
    config = load_config(overrides=[f"output.root={tmp_path}/out", "score.bootstrap=5"])
    scored = run_score(spark, config, Model(tiny_model, "tiny"))
    assert sum(scored.counts["2days"].values()) == len(stays)
    assert scored.counts["2days"]["scored"] == 0
    assert scored.metrics["2days"]["natural"]["auroc"]["value"] is None


def test_tables_without_rows_are_named(run: Prepare, tmp_path: Path) -> None:
    header = ",".join(NOTES[0]) + "\n"
    with pytest.raises(UserError, match=r"data\.notes: .* has no rows"):
        run(STAYS, gzip.compress(header.encode()))
    assert tables_left(tmp_path) == set()


def truncated() -> bytes:
    noise = "".join(random.Random(1).choices("secrt ", k=1_500_000))
    # Java's parser reads a million characters before it returns the header, so there are more.
    table = ",".join(NOTES[0]) + f'\n1,1,11,2020-01-01,,Nursing,,"{noise}"\n'
    return gzip.compress(table.encode())[:450_000]


def unclosed() -> bytes:
    row = '{0},1,11,2020-01-01,,Nursing,,"secret {1}\n'
    rows = row.format(1, "a") + row.format(2, 'b"') + row.format(3, 'c"')
    return gzip.compress((",".join(NOTES[0]) + "\n" + rows).encode())


@pytest.mark.spark4
@pytest.mark.parametrize(
    ("notes", "message"),
    [(truncated(), "cannot be read to its end"), (unclosed(), "not closed or not doubled")],
    ids=["truncated", "unclosed"],
)
def test_an_invalid_file_leaves_the_old_result_and_shows_no_text(
    run: Prepare,
    spark: SparkSession,
    tmp_path: Path,
    notes: bytes,
    message: str,
) -> None:
    before = run()
    assert tables_left(tmp_path) >= {"cohort", "exclusions", "documents", "chunks"}
    with pytest.raises(UserError, match=message) as error:
        run(STAYS, notes, "output.overwrite=true")
    assert "sec" not in str(error.value)
    after = read_manifest(spark, f"{tmp_path}/out", "prepare")
    assert (after["started"], after["tables"]["chunks"]["rows"]) == (before["started"], 2)


def test_an_admission_without_an_id_is_excluded_and_counted(run: Prepare, tmp_path: Path) -> None:
    without_id = [stay(3, None, "2020-01-01", None), stay(3, None, "2020-01-02", None)]
    facts = run([*STAYS, *without_id, STAYS[0]])
    assert (facts["admissions"]["rows"], facts["admissions"]["duplicate_rows"]) == (5, 1)
    assert (
        pq.read_table(at(tmp_path, "exclusions")).to_pylist()
        == [{"hadm_id": None, "reason": "hadm_id_missing"}] * 2
    )
    assert pq.read_table(at(tmp_path, "cohort")).num_rows == 2


@pytest.mark.spark4
def test_chunks_of_whole_segments_cut_no_token(run: Prepare, tmp_path: Path) -> None:
    sentence = words(25) + ". "
    run(STAYS, [note(1, 1, 11, sentence * 12)])
    rows = sorted(pq.read_table(at(tmp_path, "chunks")).to_pylist(), key=lambda r: r["chunk_index"])
    assert len(rows) > 3
    assert {row["n_tokens_cut"] for row in rows} == {0}
    assert max(row["n_tokens"] for row in rows) <= 128
    assert " ".join(row["text"] for row in rows) == (sentence * 12).strip()


def test_discharge_needs_a_note_that_is_a_discharge_summary(run: Prepare, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CATEGORY is discharge summary; set codes\."):
        run(STAYS, NOTES, "windows=[2days, discharge]")
    other = "codes.other_categories=[radiology]"
    facts = run(STAYS, NOTES, "windows=[discharge]", "codes.discharge_summary=[NURSING]", other)
    assert facts["notes"]["discharge_summaries"] == 2
    assert pq.read_table(at(tmp_path, "documents")).num_rows == 2


def test_lines_of_a_note_under_one_row_id_stop_the_job(run: Prepare, tmp_path: Path) -> None:
    lines = [*NOTES, *(note(9, 1, 11, f"zqxcanary {text}") for text in ("zz", "mm", "aa"))]
    with pytest.raises(UserError, match="2 of 5 notes have the ROW_ID of another note") as error:
        run(STAYS, lines)
    assert "zqx" not in str(error.value)
    assert not (tmp_path / "out" / "_manifests").exists()
    facts = run(STAYS, lines, "data.max_unread_share=0.5")
    assert facts["notes"]["repeated_row_id"] == 2
    numbered: list[Row] = [{**n, "LINE": str(9 - i)} for i, n in enumerate(lines)]
    facts = run(STAYS, numbered, "data.note_line=LINE", "output.overwrite=true")
    assert facts["notes"]["repeated_row_id"] == 0
    text = pq.read_table(at(tmp_path, "chunks")).filter(pc.field("hadm_id") == 11)["text"]
    assert text.to_pylist() == [f"{words(20)} zqxcanary aa zqxcanary mm zqxcanary zz"]


def test_codes_that_no_key_lists_stop_training(
    spark: SparkSession, run: Prepare, tmp_path: Path
) -> None:
    stays = [*STAYS, stay(3, 31, "2020-01-01", "2020-01-05", "OBSERVATION")]
    notes = [*NOTES, note(3, 3, 31, words(20), category="Progress")]
    with pytest.raises(UserError, match="1 of 3 values of ADMISSION_TYPE"):
        run(stays, notes)
    facts = run(stays, notes, "data.max_unread_share=0.4")
    assert facts["admissions"]["admission_type_unread"] == facts["notes"]["category_unread"] == 1
    with pytest.raises(UserError) as error:
        Prepared.read(spark, f"{tmp_path}/out").check_codes()
    assert str(error.value).startswith(
        "codes: 1 values of ADMISSION_TYPE and 1 values of CATEGORY are in no list, so planned "
    )
    run(STAYS, NOTES, "output.overwrite=true")
    Prepared.read(spark, f"{tmp_path}/out").check_codes()


def test_deaths_and_times_that_are_not_understood_are_counted(run: Prepare, tmp_path: Path) -> None:
    dead = [stay(3, 31, "2020-01-01", "2020-01-05", died="2020-01-04"),
            stay(3, 32, "2020-01-06", "2020-01-08"),
            stay(4, 41, "2020-01-01", "2020-01-05", died="2020-01-06"),
            stay(5, 51, "2020-01-01", "9999-12-31 00:00:00", died="in the night")]  # fmt: skip
    facts = run([*STAYS, *dead], NOTES, "data.max_unread_share=0.4")
    assert {name: n for name, n in facts["admissions"].items() if n} == {
        "rows": 6, "deathtime_unread": 1, "dischtime_placeholder": 1, "died_after_discharge": 1,
    }  # fmt: skip
    left_out = pq.read_table(at(tmp_path, "exclusions")).to_pylist()
    assert {row["hadm_id"]: row["reason"] for row in left_out} == {
        31: "died_in_hospital", 32: "after_death", 51: "died_in_hospital",
    }  # fmt: skip


def test_sites_decide_the_split_and_unknown_ones_are_named(run: Prepare, tmp_path: Path) -> None:
    stays = [{**STAYS[0], "HOSPITAL": "North"}, {**STAYS[1], "HOSPITAL": "South  Wing"}]
    by_site = (
        "split.by=site", "split.site_column=hospital", "split.validation_sites=['south wing']",
        "output.overwrite=true",
    )  # fmt: skip
    run(stays, NOTES, *by_site, "split.test_sites=[NORTH]")
    cohort = pq.read_table(at(tmp_path, "cohort")).to_pylist()
    assert {(row["hadm_id"], row["split"], row["fold"]) for row in cohort} == {
        (11, "test", 0), (21, "validation", 1),
    }  # fmt: skip
    with pytest.raises(UserError, match="no admission has the site 'west' in hospital"):
        run(stays, NOTES, *by_site, "split.test_sites=[west]")
    with pytest.raises(UserError, match="WARD"):
        run(stays, NOTES, *by_site, "split.test_sites=[north]", "split.site_column=WARD")
