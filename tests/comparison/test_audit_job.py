"""The audit of a cohort without leaks, and of the same cohort with each leak added."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison.audit_job import Check, audit, table
from readmit_spark.config import Config
from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.publish import Publication
from readmit_spark.text_rules import DEFAULT
from tests.runs import start_run
from tests.ward import Ward, call_job

CANARY = "zqxcanary"


def checks_of(
    spark: SparkSession, ward: Ward, folder: Path, changed: dict[str, pd.DataFrame], **audits: Any
) -> dict[tuple[str, str], Check]:
    """Audit prepare's tables, some of them replaced. Return the checks by name and window."""
    prepare_folder = Path(ward.prepared.path)
    for name in ("chunks", "documents", "cohort"):
        if name not in changed:
            shutil.copytree(prepare_folder / name, folder / name)
        else:
            frame = spark.createDataFrame(changed[name])
            types = ward.prepared.table(name).schema
            frame = frame.select(*(F.col(c).cast(types[c].dataType) for c in frame.columns))
            frame.write.parquet(str(folder / name))
    config: Config = replace(
        ward.config,
        output=replace(ward.config.output, root=str(folder / "out")),
        audit=replace(ward.config.audit, **audits),
    )
    prepared = ward.prepared.model_copy(update={"path": str(folder)})
    with start_run(spark, config, "audit") as run:
        checks = audit(run, prepared)
    assert table(checks).count("\n") == len(checks)
    return {(check.name, check.window): check for check in checks}


def read(spark: SparkSession, ward: Ward, name: str) -> pd.DataFrame:
    frame = ward.prepared.table(name)
    if name == "chunks":
        frame = frame.select(
            "window", "subject_id", "hadm_id", "chunk_index", "text", "n_words", "label", "split"
        ).where(F.col("label").isNotNull())
    return frame.toPandas()


def failed(checks: dict[tuple[str, str], Check]) -> set[str]:
    return {check.name for check in checks.values() if check.failed}


@pytest.fixture(scope="module")
def leaky(spark: SparkSession, ward: Ward, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Audit the cohort with every leak added."""
    chunks, cohort = read(spark, ward, "chunks"), read(spark, ward, "cohort")
    chunks["text"] += f" {CANARY}"
    # A patient with admissions on two sides.
    several = cohort[cohort.duplicated("subject_id")].index[0]
    cohort.loc[several, "split"] = {"train": "test"}.get(cohort.loc[several, "split"], "train")
    # The label in a word.
    readmitted = chunks.label == 1
    chunks.loc[readmitted, "text"] += " was re-admitted"
    # Twice the text for those who come back.
    chunks.loc[readmitted, "n_words"] *= 3
    # A tenth of the test chunks copied from training, of patients who did not come back.
    others = (chunks.split == "train") & ~readmitted
    train = chunks[others & (chunks.n_words > 30)].text.tolist()
    test = chunks[chunks.split == "test"].index
    chunks.loc[test[::10], "text"] = train[: len(test[::10])]
    # A discharge summary, and a note of the last day, at the end of some early documents.
    notes = pd.read_csv(ward.data / "NOTEEVENTS.csv")
    late = "a wholly new finding of day five that nobody had written down before then at all"
    return spark, ward, tmp_path_factory.mktemp("leaky"), chunks, cohort, notes, late


def test_a_cohort_without_leaks_passes(spark: SparkSession, ward: Ward, tmp_path: Path) -> None:
    checks = checks_of(spark, ward, tmp_path, {}, max_duplicates=1.0, max_auroc=0.9)
    assert failed(checks) == set()
    assert checks["patients on both sides of the split", "all"].found == "0"
    for window in ("2days", "3days"):
        inside = checks["discharge summaries inside", window].found
        assert inside.startswith("0 of ") and not inside.startswith("0 of 0")
        assert checks["notes not readable at the cut-off inside", window].passed
        assert checks["notes charted after the cut-off inside", window].passed is None
    assert ("discharge summaries inside", "discharge") not in checks


def test_each_leak_is_found(leaky: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spark, ward, folder, chunks, cohort, notes, late = leaky
    with_text = notes[notes.HADM_ID.notna() & notes.TEXT.notna()]
    summary = with_text[with_text.CATEGORY == "Discharge summary"].groupby("HADM_ID").TEXT.last()
    early = chunks[(chunks.window == "2days") & chunks.hadm_id.isin(summary.index)]
    last = early.groupby("hadm_id").chunk_index.idxmax()
    from readmit_spark.notes.clean import clean

    for hadm, row in last.iloc[:5].items():
        chunks.loc[row, "text"] += " " + clean(summary[hadm], DEFAULT)
    for row in last.iloc[5:9]:
        chunks.loc[row, "text"] += f" {late}"
    added = []
    for number, (hadm, row) in enumerate(last.iloc[5:9].items()):
        added.append(
            {"ROW_ID": 10**6 + number, "SUBJECT_ID": chunks.loc[row, "subject_id"],
             "HADM_ID": hadm, "CHARTDATE": "2250-01-01", "CATEGORY": "Nursing", "TEXT": late}
        )  # fmt: skip
    path = folder / "NOTES.parquet"
    columns = ["ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "ISERROR",
              "TEXT"]  # fmt: skip
    source = pd.concat([notes, pd.DataFrame(added)])[columns]
    source["CHARTTIME"] = source.CHARTTIME.astype(object)
    source.to_parquet(path)
    data = replace(ward.config.data, notes=str(path))
    other = replace(ward, config=replace(ward.config, data=data))

    checks = checks_of(spark, other, folder, {"chunks": chunks, "cohort": cohort})
    assert checks["patients on both sides of the split", "all"].found == "1"
    assert checks["discharge summaries inside", "2days"].found.startswith("5 of ")
    assert checks["notes not readable at the cut-off inside", "2days"].found.startswith("4 of ")
    assert checks["discharge summaries inside", "3days"].passed
    assert checks["label word: readmitted", "3days"].found.startswith(
        "100.0% of the readmitted, 0.0% of others; AUROC 1.000"
    )
    assert checks["label word: expired", "3days"].passed
    assert failed(checks) >= {
        "patients on both sides of the split", "near-duplicates of training chunks",
        "discharge summaries inside", "notes not readable at the cut-off inside",
        "label word: readmitted",
    }  # fmt: skip
    verdicts = [checks[f"length: number of {unit} alone", "2days"].verdict for unit in
                ("words", "chunks")]  # fmt: skip
    assert verdicts == ["warning", "passed"]
    for file in (folder / "out").rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes()


def test_the_job_exits_with_3_if_a_check_fails(
    spark: SparkSession, ward: Ward, capsys: pytest.CaptureFixture[str]
) -> None:
    """The limit of AUROC is 0, which every word and length exceeds."""
    code = call_job("audit", ward, "audit.max_duplicates=1", "audit.max_auroc=0")
    output, log = capsys.readouterr()
    assert code == 3, log
    assert "patients on both sides of the split" in output
    (line,) = (line for line in log.splitlines() if "the cohort leaks: " in line)
    assert line.startswith("audit: ") and "label word: readmitted" in line
    assert "both sides" not in line and "length" not in line
    page = (ward.root / "audit.html").read_text()
    assert "FAILED" in page and "://" not in page


def score_facts(ward: Ward) -> dict[str, Any]:
    """The facts of a score manifest that other jobs read."""
    return {
        "prepared": ward.prepared.run,
        "finished": "2026-01-01T00:00:00",
        "model": "none",
        "fingerprint": "none",
        "counts": {},
        "seconds": {},
        "config": {"score": {"windows": None, "precision": "fp32"}, "vote": {"c": 2.0}},
    }


@pytest.mark.slow
def test_correlation_of_score_with_length(spark: SparkSession, ward: Ward, tmp_path: Path) -> None:
    """Scores equal to the number of words, then the same scores in reverse."""
    words = read(spark, ward, "chunks").groupby(["window", "hadm_id", "split"], as_index=False)
    scores = words.n_words.sum().rename(columns={"n_words": "score"})
    name = "the score follows the number of words"
    for sign in (1, -1):
        folder = tmp_path / str(sign)
        folder.mkdir()
        publication = Publication(LocalFiles(str(folder / "out")), "score", True, datetime.now)
        turned = spark.createDataFrame(scores.assign(score=scores.score * float(sign)))
        publication.write_table(turned, "patient_scores")
        publication.publish(score_facts(ward))
        publication.close()
        check = checks_of(spark, ward, folder, {})[name, "3days"]
        assert check.passed is None
        assert check.found.startswith(f"rho {sign:+.2f} over "), check
    (tmp_path / "unscored").mkdir()
    check = checks_of(spark, ward, tmp_path / "unscored", {})[name, "all"]
    assert (check.passed, check.found) == (
        None, "not measured: jobs/score.py has not scored these chunks"
    )  # fmt: skip
