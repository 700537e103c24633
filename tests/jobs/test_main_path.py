"""prepare, finetune and score in one process with a tiny model: their tables, files and output."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import roc_auc_score

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.vote import vote_score
from readmit_spark.notes.prepare_summary import prepare_summary
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.progress import Progress
from readmit_spark.scoring.model import Model, resolve_scorer
from readmit_spark.scoring.registry import DOUBTS, TEST_EVIDENCE, fetch, version_tags
from readmit_spark.scoring.score_report import ScoreResult
from readmit_spark.storage.manifests import Prepared
from readmit_spark.training import finetune_job as finetune
from tests import oracles
from tests.runs import run_prepare, run_score
from tests.tables_in import Row, note, stay, words, write_csv
from tests.watch import Watch

pytestmark = pytest.mark.spark4

SEED = 7
WINDOWS = ["2days", "discharge"]
CHAMPION = "models:/readmission@champion"
CANARY = "zqxcanary"  # in every note, and in nothing else


class Ran(NamedTuple):
    config: Config
    root: Path
    prepared: dict[str, Any]
    scored: ScoreResult
    printed: str


def hospital() -> tuple[list[Row], list[Row]]:
    """Make 40 patients, a newborn, a death, a patient without notes and a note delivered twice.

    Every other patient is readmitted, except those of the test split.
    """
    stays: list[Row] = []
    notes: list[Row] = []
    for subject in range(1, 41):
        hadm = subject * 10
        stays.append(stay(subject, hadm, "2020-01-01", "2020-01-05"))
        if subject % 2 == 0 and oracles.split(subject, SEED) != "test":
            stays.append(stay(subject, hadm + 1, "2020-01-20", "2020-01-22"))
        if subject == 40:
            continue
        for i, (category, day) in enumerate(
            [("Nursing", "2020-01-01"), ("Discharge summary", "2020-01-05")]
        ):
            text = f"{CANARY.upper()} {words(15 + subject % 7, subject)}\nno {CANARY}er"
            notes.append(note(hadm + i, subject, hadm, text, day, category=category))
    stays.append(stay(50, 500, "2020-01-01", "2020-01-02", "NEWBORN"))
    stays.append(stay(51, 510, "2020-01-01", "2020-01-02", died="2020-01-02"))
    notes.append(note(500, 50, 500, f"{CANARY} {words(20)}"))
    notes.append(note(501, 40, None, f"{CANARY} {words(20)}"))
    notes.append(note(502, 1, 10, f"{CANARY} {words(20)}", iserror="1"))
    notes.append(notes[0])
    return stays, notes


def settings(root: Path, stays: str, notes: str, model: str) -> list[str]:
    return [
        f"data.admissions={stays}",
        f"data.notes={notes}",
        f"output.root={root}",
        f"windows=[{','.join(WINDOWS)}]",
        f"split.seed={SEED}",
        f"model.path={model}",
        "model.max_tokens=128",
        "train.window=2days",
        "train.epochs=1",
        "train.batch_size=8",
        "train.log_every=2",
        "score.bootstrap=20",
        "score.meds=true",
    ]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("hospital")
    stays, notes = hospital()
    return write_csv(folder / "ADMISSIONS.csv", stays), write_csv(folder / "NOTES.csv.gz", notes)


@pytest.fixture(scope="module")
def ran(
    spark: SparkSession,
    tokenizer: ChunkTokenizer,
    tiny_model: str,
    inputs: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ran]:
    """Run prepare, finetune and score as the jobs do, and capture what they print."""
    root = tmp_path_factory.mktemp("main_path") / "out"
    config = load_config(overrides=settings(root, *inputs, tiny_model))
    capture = pytest.MonkeyPatch()
    with (root.parent / "printed").open("w+") as printed:
        capture.setattr(sys, "stdout", printed)
        capture.setattr(sys, "stderr", printed)
        try:
            run_prepare(spark, config, tokenizer, sys.stderr)
            prepared = Prepared.read(spark, str(root))
            base = Model(tiny_model, "tiny")
            finetune.finetune_and_register(config, base, prepared, Progress("finetune", 3))
            champion = resolve_scorer(replace(config, model=replace(config.model, path=CHAMPION)))
            scored = run_score(spark, config, champion, prepared, sys.stderr)
        finally:
            capture.undo()
        printed.seek(0)
        yield Ran(config, root, prepared, scored, printed.read())


def job_of(name: str) -> str:
    return "score" if name in ("chunk_scores", "patient_scores", "ledger") else "prepare"


def at(root: Path, name: str) -> Path:
    """Return the folder of the current table."""
    manifest = json.loads((root / "_manifests" / f"{job_of(name)}.json").read_text())
    return root / manifest["run"] / name


def table(root: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(at(root, name)).to_pylist()


def test_a_model_that_is_not_shown_to_rank_is_a_champion_with_a_warning(ran: Ran) -> None:
    tags = version_tags(ran.config.tracking_uri, "readmission/1")
    trained = "fewer than 50 are too few to learn from"
    assert trained in tags[DOUBTS]
    assert json.loads(tags[TEST_EVIDENCE])["readmitted"] == 0
    unseen = "On the test patients nobody can say how well this model ranks"
    for page in ("report.html", "model_card.html"):
        box = (ran.root / page).read_text().partition("Do not rely on this ranking.")[2]
        assert trained in box and unseen in box
    assert "warning: readmission/1 is the champion only because it is the first" in ran.printed
    assert f"warning: {unseen}" in ran.printed


def test_predictions_of_meds_are_those_of_the_measured_admissions(ran: Ran) -> None:
    patients = pq.read_table(at(ran.root, "patient_scores")).to_pylist()
    for window in WINDOWS:
        rows = pq.read_table(ran.root / f"predictions_{window}.parquet").to_pylist()
        measured = [
            p for p in patients
            if p["window"] == window and p["split"] == "test" and p["actionable"]
            and p["label"] is not None
        ]  # fmt: skip
        assert sorted(row["predicted_boolean_probability"] for row in rows) == sorted(
            p["score"] if p["risk"] is None else p["risk"] for p in measured
        )


def test_the_documented_tables_and_files_are_published(ran: Ran) -> None:
    columns = {
        "cohort": "subject_id hadm_id admittime dischtime admission_type next_admittime "
        "days_next_admit label duration_days split fold midnights",
        "exclusions": "hadm_id reason",
        "subgroups": "hadm_id sex age_band ethnicity insurance admission_type discharge_to",
        "chunks": "subject_id hadm_id chunk_index text n_words input_ids n_tokens n_tokens_cut "
        "label split digest window",
        "chunk_scores": "window hadm_id chunk_index probability model",
        "patient_scores": "window subject_id hadm_id n_chunks max_probability mean_probability "
        "score label split actionable risk",
        "ledger": "window hadm_id status reason",
    }
    for name, expected in columns.items():
        assert pq.read_table(at(ran.root, name)).column_names == expected.split(), name
    for window in WINDOWS:
        for picture in (f"roc_{window}.png", f"pr_{window}.png"):
            assert (ran.root / picture).read_bytes().startswith(b"\x89PNG"), picture
    for page in ("report.html", "model_card.html"):
        assert "<html" in (ran.root / page).read_text()


def test_the_ledger_has_every_admission_once_in_each_window(
    ran: Ran, inputs: tuple[str, str]
) -> None:
    rows = table(ran.root, "ledger")
    stays = [oracles.parse_id(row["HADM_ID"]) for row in oracles.read_csv(inputs[0])]
    for window in WINDOWS:
        statuses = {r["hadm_id"]: r["reason"] or r["status"] for r in rows if r["window"] == window}
        assert sorted(statuses) == sorted(stays)
        assert (statuses[500], statuses[510]) == ("newborn", "died_in_hospital")
        assert (statuses[20], statuses[400], statuses[21]) == ("scored", "no_notes", "no_notes")
        assert ran.scored.counts[window]["excluded"] == 2
        assert sum(ran.scored.counts[window].values()) == len(stays) == len(statuses)


# All of these notes are used.
READ = ("notes", "discharge_summaries", "available_from_chartdate")


def test_notes_that_were_left_out_are_counted(ran: Ran) -> None:
    counts = ran.prepared.notes
    assert counts["notes"] == 2 * 39 + 4
    left_out = {name: n for name, n in counts.items() if n and name not in READ}
    assert left_out == {
        "no_hadm_id": 1, "excluded_admission": 1, "marked_as_error": 1, "identical_duplicate": 1,
    }  # fmt: skip


def test_each_patient_score_is_the_vote_of_its_chunks(ran: Ran) -> None:
    chunks = table(ran.root, "chunk_scores")
    assert {row["model"] for row in chunks} == {"readmission/1"}
    for row in table(ran.root, "patient_scores"):
        probabilities = [
            c["probability"]
            for c in chunks
            if (c["window"], c["hadm_id"]) == (row["window"], row["hadm_id"])
        ]
        assert row["score"] == pytest.approx(vote_score(probabilities, 2.0), abs=1e-12)


def test_the_registered_model_has_its_fitted_settings(ran: Ran) -> None:
    fitted = Model(fetch(CHAMPION, ran.config.tracking_uri)[0], "").fitted
    assert fitted is not None
    assert (fitted.window, fitted.max_tokens, fitted.vote_c) == ("2days", 128, 2.0)
    # Fewer than 30 validation admissions allow no threshold, and too few of them came back.
    assert fitted.alerts == dict.fromkeys(WINDOWS, ()) and fitted.risks == {}


def test_an_undefined_metric_is_null_with_the_reason(ran: Ran) -> None:
    metrics = json.loads((ran.root / "metrics.json").read_text())
    assert list(metrics) == WINDOWS
    for window in WINDOWS:
        natural = metrics[window]["natural"]
        assert (metrics[window]["split"], natural["positives"]) == ("test", 0)
        assert natural["n"] > 0
        for name in ("auroc", "auprc", "average_precision", "rp80"):
            assert natural[name]["value"] is None, name
            assert natural[name]["reason"], name
        assert metrics[window]["balanced"]["positives"] == 0


def test_metrics_are_computed_from_the_published_scores(
    spark: SparkSession, ran: Ran, inputs: tuple[str, str], tiny_model: str
) -> None:
    config = load_config(
        overrides=[
            *settings(ran.root, *inputs, tiny_model), "score.split=train", "output.overwrite=true",
            "score.windows=[2days]",
        ]
    )  # fmt: skip
    before = (ran.root / "metrics.json").read_text()
    run_score(spark, config, Model(tiny_model, "tiny"), ran.prepared, sys.stderr)
    try:
        rows = table(ran.root, "patient_scores")
        assert {row["split"] for row in rows} == {"train"}
        natural = json.loads((ran.root / "metrics.json").read_text())["2days"]["natural"]
        labels, scores = [r["label"] for r in rows], [r["score"] for r in rows]
        assert (natural["n"], natural["positives"]) == (len(rows), sum(labels))
        assert natural["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
        assert natural["auroc"]["low"] <= natural["auroc"]["value"] <= natural["auroc"]["high"]
        reasons = {row["reason"] for row in table(ran.root, "ledger")}
        assert "other_split" in reasons
    finally:
        (ran.root / "metrics.json").write_text(before)


def test_the_summary_of_prepare_counts_its_tables(ran: Ran, spark: SparkSession) -> None:
    lines = prepare_summary(Prepared.read(spark, str(ran.root))).splitlines()
    cohort, chunks = table(ran.root, "cohort"), table(ran.root, "chunks")
    known = [row["label"] for row in cohort if row["label"] is not None]
    (found,) = [line for line in lines if line.startswith("in the cohort")]
    assert f"{len(cohort):,}: {sum(known):,} readmitted ({sum(known) / len(known):.1%})" in found
    for window in WINDOWS:
        of_window = [row for row in chunks if row["window"] == window]
        cut = sum(row["n_tokens_cut"] for row in of_window)
        tokens = cut + sum(row["n_tokens"] for row in of_window)
        (found,) = [line for line in lines if line.startswith(window)]
        admissions = len({row["hadm_id"] for row in of_window})
        assert f"{len(of_window):,} chunks of {admissions:,} admissions, {tokens:,} tok" in found
        assert f"{cut / tokens:.1%} of them cut off" in found


def test_a_fault_in_the_report_costs_no_score(
    ran: Ran, inputs: tuple[str, str], tiny_model: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root, truth = tmp_path / "out", tmp_path / "TRUTH.csv"
    shutil.copytree(ran.root, root)
    (tmp_path / "empty.yaml").write_text("")
    more = [f"data.truth={truth}", "output.overwrite=true", "score.windows=[2days]"]
    arguments = ["--config", str(tmp_path / "empty.yaml")]
    for setting in (*settings(root, *inputs, tiny_model), *more):
        arguments += ["--set", setting]
    main = runpy.run_path("jobs/score.py")["main"]

    def run() -> tuple[int, str]:
        return cli.run("score", "", main, arguments), capsys.readouterr().err

    truth.write_text("HADM_ID\n10\n")
    before = (root / "report.html").read_bytes()
    code, printed = run()
    assert code == 2 and "data.truth" in printed
    line = "their report is not: run jobs/score.py again with the same configuration"
    assert line in printed and "chunk scores" in printed
    assert {row["model"] for row in table(root, "chunk_scores")} == {Path(tiny_model).name}
    assert (root / "report.html").read_bytes() == before
    published = at(root, "chunk_scores")
    rows = [f"{row['hadm_id']},{row['admittime']},0.5\n" for row in table(root, "cohort")]
    moved = "10,1999-01-01,0.5\n"  # as of another hospital, which has the same number
    truth.write_text("HADM_ID,ADMITTIME,RISK\n" + moved + "".join(rows[1:]))
    code, printed = run()
    assert code == 2 and "have another ADMITTIME than in the prepared cohort" in printed
    truth.write_text("HADM_ID,ADMITTIME,RISK\n" + "".join(rows))
    (root / "report.html").unlink()
    (root / "report.html").mkdir()  # nothing can be written there
    code, printed = run()
    assert code == 1 and line in printed and "IsADirectoryError" in printed
    (root / "report.html").rmdir()
    code, printed = run()
    assert code == 0 and "only metrics and report are made" in printed
    assert "chunk scores" not in printed and at(root, "chunk_scores") == published
    assert (root / "report.html").read_bytes() != before
    assert list(json.loads((root / "metrics.json").read_text())) == ["2days"]


# --- no note text outside the chunks --------------------------------------------------------------


def files_with(word: str, folder: Path) -> list[str]:
    """Return the files under `folder` that contain the word; Parquet tables are decoded."""
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            raw = path.read_bytes()
            if path.suffix == ".parquet":
                raw += str(pq.read_table(path).to_pydict()).encode()
            if word.encode() in raw.lower():
                names.append(str(path.relative_to(folder)))
    return names


def test_no_note_text_is_stored_outside_the_chunks(ran: Ran) -> None:
    names = files_with(CANARY, ran.root)
    assert {Path(name).parts[2] for name in names} == {"chunks"}
    assert len([p for p in ran.root.rglob("*") if p.is_file()]) > 50  # MLflow's are among them
    assert any(ran.root.glob("mlflow.db*"))


def test_scoring_prints_how_much_equal_chunks_save(ran: Ran) -> None:
    chunks = table(ran.root, "chunks")
    distinct = len({tuple(row["input_ids"]) for row in chunks})
    assert distinct < len(chunks)  # a 2-day document is the beginning of the 3-day one
    saved = f"{len(chunks):,} chunks, {distinct:,} distinct ones to score"
    assert f"{saved} ({1 - distinct / len(chunks):.0%} saved)" in ran.printed


def test_a_precision_that_moves_scores_too_far_is_refused_before_scoring(
    spark: SparkSession, ran: Ran
) -> None:
    config = load_config(
        overrides=[f"output.root={ran.root}", "score.precision=bf16", "output.overwrite=true",
                   "score.max_probability_shift=0", "model.max_tokens=128"]
    )  # fmt: skip
    before = (ran.root / "_manifests" / "score.json").read_text()
    champion = resolve_scorer(replace(config, model=replace(config.model, path=CHAMPION)))
    with pytest.raises(UserError, match=r"score\.precision=bf16 moves a probability by"):
        run_score(spark, config, champion, ran.prepared)
    assert (ran.root / "_manifests" / "score.json").read_text() == before


def test_a_model_trained_on_test_patients_is_refused(spark: SparkSession, ran: Ran) -> None:
    champion = resolve_scorer(replace(ran.config, model=replace(ran.config.model, path=CHAMPION)))
    split = ran.prepared.config.split.model_copy(update={"seed": SEED + 1})
    config = ran.prepared.config.model_copy(update={"split": split})
    other = ran.prepared.model_copy(update={"config": config})
    again = replace(ran.config, output=replace(ran.config.output, overwrite=True))
    with pytest.raises(UserError, match=f"split `patient {SEED}`, and the data have `patient "):
        run_score(spark, again, champion, other)
    assert "nobody knows which patients" not in ran.printed


def test_no_note_text_is_printed(ran: Ran) -> None:
    assert "step 2/" in ran.printed  # the output of the training is included
    assert CANARY not in ran.printed.lower()


def test_no_note_text_is_in_the_event_log(ran: Ran, event_log: Path) -> None:
    assert any(b"SparkListenerSQLExecutionStart" in p.read_bytes() for p in event_log.iterdir())
    assert files_with(CANARY, event_log) == []


@pytest.mark.slow  # two more programs with a Java of their own
def test_a_job_as_a_program_shows_no_note_text(
    ran: Ran, inputs: tuple[str, str], tiny_model: str, tmp_path: Path
) -> None:
    """Neither in the output of Python, Java and the workers, nor in files while it runs. Java has
    an open umask here."""
    out, temporary, java = (tmp_path / name for name in ("out", "tmp", "java"))
    temporary.mkdir()
    java.mkdir()  # Spark's libraries
    command = [
        "spark-submit", "--conf", "spark.ui.enabled=false", "--conf",
        "spark.sql.shuffle.partitions=2", "--driver-java-options",
        f"-Djava.io.tmpdir={java}", "jobs/prepare.py", "--config", os.devnull,
    ]  # fmt: skip
    for override in settings(out, *inputs, tiny_model):
        command += ["--set", override]
    with Watch(tmp_path, CANARY) as watch:
        done = subprocess.run(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYSPARK_PYTHON": sys.executable, "TMPDIR": str(temporary)},
            umask=0o022,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert "prepare: [2/3] notes: documents, chunks, tokens" in done.stdout
    assert CANARY not in (done.stdout + done.stderr).lower()
    assert {Path(name).parts[2] for name in files_with(CANARY, out)} == {"chunks"}
    assert in_order(out) == in_order(ran.root)
    opened = {found for found in watch.open_to_others() if not found.path.is_relative_to(java)}
    assert opened == set()
    assert watch.with_word and not any(f.path.is_relative_to(java) for f in watch.with_word)
    assert watch.has("shuffle_*.data") and watch.has("_work/prepare/*/rows/*.parquet")
    assert files_with("", temporary) == [f"readmit-spark-{os.getuid()}/scratch/.lock"]


def in_order(root: Path) -> list[dict[str, Any]]:
    return sorted(table(root, "chunks"), key=lambda row: (row["window"], row["hadm_id"]))
