"""The benchmarks import, print their help, and agree with the package where that is cheap."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

BENCH = Path(__file__).parents[1] / "bench"
ENTRIES = sorted(path.stem for path in BENCH.glob("*.py"))
SHARED = sorted(path.stem for path in (BENCH / "common").glob("*.py"))
RESULTS = sorted((BENCH / "results").glob("*.json"))
SENTENCES = [
    "The patient was admitted with chest pain and shortness of breath.",
    "Dr. Smith saw her: blood pressure was 120 over 80, the pulse regular.",
    "She was discharged on 5. May with aspirin, metoprolol and a statin.",
]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_prints_its_claims_and_commands(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"bench.{name}").main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"bench/{name}.py" in shown
    assert "Claim" in shown and "Writes bench/results/" in shown


@pytest.mark.parametrize("name", SHARED)
def test_every_shared_module_imports(name: str) -> None:
    importlib.import_module(f"bench.common.{name}")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_names_its_machine_and_commit_and_is_in_the_table(path: Path) -> None:
    machine = json.loads(path.read_text())["machine"]
    assert machine["cpu"] and machine["cores"] and machine["commit"]
    if not path.stem.endswith("_small"):
        assert f"`results/{path.name}`" in (BENCH / "README.md").read_text()


def test_small_cohort_has_the_same_notes_as_csv_and_parquet(texts: Path, tmp_path: Path) -> None:
    from bench.common.texts import load_sentences, write_cohort

    cohort = write_cohort(tmp_path / "cohort", 70, load_sentences(texts))
    as_csv = pd.read_csv(cohort.path("NOTEEVENTS", "csv"))
    as_parquet = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"))
    assert len(as_csv) == len(as_parquet) == cohort.notes >= 70
    assert as_csv["TEXT"].tolist() == as_parquet["TEXT"].tolist()


def test_peers_of_prepare_make_our_chunks_and_segments(texts: Path, tmp_path: Path) -> None:
    import spacy

    from bench.common import peers
    from bench.common.texts import load_sentences, write_cohort
    from readmit_spark.notes.chunk import word_chunks
    from readmit_spark.notes.clean import clean
    from readmit_spark.notes.segment import segment
    from readmit_spark.text_rules import PUBLISHED

    cohort = write_cohort(tmp_path / "cohort", 35, load_sentences(texts))
    notes = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"))["TEXT"]
    cleaned = [clean(note, PUBLISHED) for note in notes]
    ours = [chunk for text in cleaned for chunk in word_chunks(text)]
    assert peers.linear(notes)["text"].tolist() == ours
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    assert [peers.spacy_segments(nlp, text) for text in cleaned] == [segment(t) for t in cleaned]


def test_count_of_operations_leaves_out_part_of_the_last_layer() -> None:
    from bench.common.random_bert import HIDDEN, count_operations

    whole, computed = count_operations([1], layers=1)
    assert whole == 24 * HIDDEN**2 + 4 * HIDDEN
    assert computed == whole  # [CLS] is the only token
    whole, computed = count_operations([400, 20], layers=12)
    assert 11 / 12 < computed / whole < 1


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Write a CSV of three transcriptions, as `load_sentences` reads it."""
    path = tmp_path / "transcriptions.csv"
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["transcription"])
        writer.writerows([" ".join(SENTENCES[i:] + SENTENCES * 5)] for i in range(3))
    return path
