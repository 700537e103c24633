"""explain and over_time with a model for which one word raises the risk."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from safetensors.torch import load_file, save_file

from readmit_spark.comparison.audit_job import audit
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.vote import vote_score
from readmit_spark.insight import over_time_job as over_time
from readmit_spark.insight.explain_job import ExplainRequest
from readmit_spark.insight.over_time_page import render_over_time
from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.publish import read_manifest
from readmit_spark.text_rules import DEFAULT
from tests.html_page import Page
from tests.insight.test_explainer import SENTENCE
from tests.planted import TELLING, save_planted_model
from tests.runs import (
    run_explain,
    run_nightly,
    run_over_time,
    run_prepare,
    run_score,
    start_run,
)
from tests.tables_in import Row, note, stay, words, write_csv

CANARY = "zqxcanary"
WORDS = 12
NIGHT = datetime(2020, 1, 4, 2)
# The notes of patient 1 have the telling word on the third day, those of patient 2 on the first,
# those of patient 3 never. Patient 4 is discharged on the first day.
STAYS = [
    *(
        stay(n, 10 * n + 1, "2020-01-01", None if n < 4 else "2020-01-01 20:00:00")
        for n in (1, 2, 3, 4)
    ),
    stay(4, 42, "2020-01-10", "2020-01-12"),
]
NOTES: list[Row] = [
    note(1, 1, 11, f"Seen by Dr. [**Name**], {words(18)}", "2020-01-01", "10:00:00"),
    note(2, 1, 11, f"{CANARY} <b>no</b> {words(6, 50)}", "2020-01-02", "10:00:00"),
    note(3, 1, 11, f"1. Heart\n {TELLING.upper()} {words(14, 90)}", "2020-01-03", "10:00:00"),
    note(4, 2, 21, f"{words(5, 200)} {TELLING} {words(14, 210)}", "2020-01-01", "10:00:00"),
    note(5, 3, 31, words(30, 300), "2020-01-01", "10:00:00"),
    note(6, 4, 41, f"{words(20, 400)} {TELLING}", "2020-01-01", "13:00:00"),
    note(7, 1, 11, f"{TELLING} {words(14, 90)}", "2020-01-03", "11:00:00", "Discharge summary"),
]
TEXTS = {int(n["ROW_ID"] or 0): n["TEXT"] or "" for n in NOTES}


class Ran(NamedTuple):
    spark: SparkSession
    root: Path
    model: str
    settings: list[str]

    def explain(self, *more: str, **request: Any) -> tuple[str, str]:
        log = io.StringIO()
        config = load_config(overrides=[*self.settings, *more])
        done = run_explain(
            self.spark, config, Model(self.model, "planted"), ExplainRequest(**request), log
        )
        return done, log.getvalue()

    def over_time(self, *more: str, admission: int | None = None) -> str:
        config = load_config(overrides=[*self.settings, "over_time.days=4", *more])
        return run_over_time(self.spark, config, Model(self.model, "planted"), admission)

    def table(self, job: str, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(
            f"{read_manifest(self.spark, str(self.root), job)['path']}/{name}"
        ).to_pylist()
        return rows

    def explanations(self) -> dict[int, dict[str, Any]]:
        return {row["hadm_id"]: row for row in self.table("explain", "explanations")}


@pytest.fixture(scope="module")
def ran(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Run nightly, and prepare and score with the window of two days."""
    folder = tmp_path_factory.mktemp("explain")
    (folder / "model").mkdir()
    model = save_planted_model(folder / "model")
    root = folder / "out"
    settings = [
        f"data.admissions={write_csv(folder / 'ADMISSIONS.csv', STAYS)}",
        f"data.notes={write_csv(folder / 'NOTES.csv', NOTES)}",
        f"output.root={root}", f"model.path={model}", "model.max_tokens=128",
        "chunk.mode=words", f"chunk.words={WORDS}", "chunk.min_tail_words=3", "windows=[2days]",
        "train.window=2days",
        "score.bootstrap=20", "nightly.window=3days",
    ]  # fmt: skip
    config, planted = load_config(overrides=settings), Model(model, "planted")
    run_nightly(spark, config, planted, NIGHT)
    run_prepare(spark, config, planted.tokenizer(128))
    run_score(spark, config, planted)
    yield Ran(spark, root, model, settings)


def chunks_of(*rows: int) -> list[str]:
    return word_chunks(clean(" ".join(TEXTS[row] for row in rows), DEFAULT), WORDS, 3)


def test_a_nights_scores_are_explained_by_words_with_their_characters(
    ran: Ran, tokenizer: ChunkTokenizer
) -> None:
    printed, _ = ran.explain()
    assert "explained 3 of the night of 2020-01-04 02:00:00; complete (to 1 %): 3" in printed
    published = {
        row["hadm_id"]: row for row in ran.table("nightly/2020-01-04T020000", "patient_risk")
    }
    explanations = ran.explanations()
    assert set(explanations) == set(published) == {11, 21, 31}
    for hadm, row in explanations.items():
        assert row["score"] == pytest.approx(published[hadm]["score"], abs=1e-6)
        assert sum(chunk["adds"] for chunk in row["chunks"]) == pytest.approx(row["score"])
        driver = published[hadm]["drivers"][0]
        assert row["driving_chunk"] == driver["chunk_index"]
        share = row["chunks"][row["driving_chunk"]]["adds"] / row["score"]
        assert share == pytest.approx(driver["share"], abs=1e-6)
        total = sum(word["attribution"] for word in row["words"])
        difference = row["logit"] - row["baseline"]
        assert total == pytest.approx(difference, abs=0.01 * max(abs(difference), 0.1))
    for hadm, rows in ((11, (1, 2, 3)), (21, (4,))):
        row = explanations[hadm]
        chunk = chunks_of(*rows)[row["driving_chunk"]].split()
        assert TELLING in chunk and len(row["words"]) == len(chunk)
        for word, text in zip(row["words"], chunk, strict=True):
            (place,) = word["places"]
            characters = TEXTS[place["row_id"]][place["start"] : place["end"]]
            assert clean(characters, DEFAULT).split() == [text]
        strongest = max(range(len(chunk)), key=lambda i: row["words"][i]["attribution"])
        assert chunk[strongest] == TELLING
        assert row["deletion"]["strongest"] > row["deletion"]["random"] + 1
        assert row["deletion"]["beaten"] == 1.0


def test_the_explained_scores_are_those_of_the_score_job(ran: Ran) -> None:
    printed, _ = ran.explain("explain.source=score", "explain.top=2")
    assert "explained 2 of the scores of 2days" in printed
    scores = {row["hadm_id"]: row["score"] for row in ran.table("score", "patient_scores")}
    top = sorted(scores, key=lambda hadm: -scores[hadm])[:2]
    explanations = ran.explanations()
    assert set(explanations) == set(top) == {21, 41}
    for hadm in top:
        assert explanations[hadm]["score"] == pytest.approx(scores[hadm], abs=1e-6)


def test_words_are_shown_only_if_configured_and_are_escaped(ran: Ran) -> None:
    def files_with_text() -> set[str]:
        run = read_manifest(ran.spark, str(ran.root), "explain")["run"]
        root_copies = {p.name for p in ran.root.glob("*") if has_text(p)}
        return root_copies | {p.name for p in (ran.root / run).rglob("*") if has_text(p)}

    def has_text(path: Path) -> bool:
        if not path.is_file():
            return False
        raw = path.read_bytes()
        if path.suffix == ".parquet":
            raw += str(pq.read_table(path).to_pydict()).encode()
        return TELLING.encode() in raw or CANARY.encode() in raw

    printed, log = ran.explain(admission=11)
    assert files_with_text() == set()
    assert not list(ran.root.glob("_work/explain/*"))
    assert "tokens" not in np.load(ran.root / "attention_11.npz")
    page = Page((ran.root / "explain_11.html").read_text())
    assert not page.open and "note 3, 10" in page.text  # FAILURE starts there
    printed, log = ran.explain("explain.include_text=true", admission=11)
    assert files_with_text() == {"explain_11.html"}
    assert TELLING not in (printed + log).lower()
    arrays = np.load(ran.root / "attention_11.npz")
    assert TELLING in arrays["tokens"].tolist()
    assert arrays["maps"].shape == (2, 2, len(arrays["tokens"]), len(arrays["tokens"]))
    assert arrays["rollout"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    ran.explain("explain.include_text=true", text=f"<script>alert(1)</script> {words(10)}")
    source = (ran.root / "explain_text.html").read_text()
    assert "&lt;script&gt;" in source and "<script" not in source
    assert not Page(source).open


@pytest.mark.slow
def test_a_text_is_explained_with_its_attention(ran: Ran, tokenizer: ChunkTokenizer) -> None:
    ran.explain()
    page_of_the_night = (ran.root / "explain.html").read_bytes()
    printed, log = ran.explain("chunk.words=40", text=SENTENCE)
    assert "explained 1 of the text given" in printed
    assert re.search(rf"^  [+-]\d\.\d{{3}}  {SENTENCE.split()[0]}$", printed, re.MULTILINE)
    assert SENTENCE.split()[0] not in log
    assert (ran.root / "explain.html").read_bytes() == page_of_the_night
    (row,) = ran.table("explain", "explanations")
    assert len(row["words"]) == len(SENTENCE.split())
    ids = tokenizer.encode([SENTENCE])[0].input_ids
    arrays = np.load(ran.root / "attention_text.npz")
    assert arrays["tokens"].tolist() == tokenizer.tokens(ids)
    assert arrays["maps"].shape == (2, 2, len(ids), len(ids))
    page = Page((ran.root / "explain_text.html").read_text())
    assert "no explanation" in page.text
    maps = [image for image in page.all("img") if "ayer" in (image["alt"] or "")
            or "rollout" in (image["alt"] or "")]  # fmt: skip
    assert len(maps) == 5
    assert all((image["src"] or "").startswith("data:image/png") for image in page.all("img"))
    ran.explain(text="pain")  # too short for a chunk, but explained as one
    with pytest.raises(UserError, match="no word is left"):
        ran.explain(text="[**gone**]")


def test_wrong_requests_are_user_errors(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no admission 999 to explain among the night"):
        ran.explain(admission=999)
    with pytest.raises(UserError, match="was not scored"):
        ran.explain("explain.source=score", "explain.window=discharge")
    with pytest.raises(UserError, match=r"clean, chunk: jobs/prepare\.py was run with"):
        ran.explain("explain.source=score", "chunk.words=13")
    with pytest.raises(UserError, match="explain it with its own configuration"):
        ran.explain("chunk.words=13")
    with pytest.raises(UserError, match=r"has no complete night; run jobs/nightly\.py"):
        ran.explain(f"output.root={tmp_path}")
    edited = [{**n, "TEXT": words(30, 700)} if n["ROW_ID"] == "4" else n for n in NOTES]
    with pytest.raises(UserError, match=r"the scores of 1 admissions \(21\)") as error:
        ran.explain(f"data.notes={write_csv(tmp_path / 'NOTES.csv', edited)}")
    assert TELLING not in str(error.value)


def test_as_of_is_refused_unless_a_night_is_explained(ran: Ran) -> None:
    with pytest.raises(UserError, match=r"--as-of: explain\.source=score has no nights"):
        ran.explain("explain.source=score", as_of=NIGHT)
    with pytest.raises(UserError, match="--as-of: a text belongs to no night"):
        ran.explain(text="pain", as_of=NIGHT)


def test_the_score_after_each_day_is_computed_from_its_notes(ran: Ran) -> None:
    printed = ran.over_time()
    tokenizer = load_tokenizer(ran.model, 128)
    scorer = Scorer(ran.model, device="cpu")
    rows = {(row["hadm_id"], row["day"]): row for row in ran.table("over_time", "risk_by_day")}
    by_day = {11: ([1], [1, 2], [1, 2, 3], [1, 2, 3]), 21: ([4],) * 4, 31: ([5],) * 4, 41: ([6],)}
    assert set(rows) == {(h, d + 1) for h, days in by_day.items() for d in range(len(days))}
    expected = {}
    for hadm, days in by_day.items():
        for day, notes in enumerate(days, 1):
            ids = [
                np.array(e.input_ids, dtype=np.int32) for e in tokenizer.encode(chunks_of(*notes))
            ]
            expected[hadm, day] = vote_score([float(p) for p in scorer.score(ids)], 2.0)
            assert rows[hadm, day]["score"] == pytest.approx(expected[hadm, day], abs=1e-6)
            assert rows[hadm, day]["n_chunks"] == len(ids)
    assert rows[11, 3]["change"] == pytest.approx(expected[11, 3] - expected[11, 2], abs=1e-6)
    assert rows[11, 3]["change"] > 0.2  # the day of the telling word
    assert rows[11, 1]["change"] is None and rows[21, 2]["change"] == 0.0
    # Patient 4 was discharged eight hours after admission, so its first day is not actionable.
    assert {key for key, row in rows.items() if not row["actionable"]} == {(41, 1)}
    assert "4 admissions, 13 days with a score" in printed
    page = Page((ran.root / "over_time.html").read_text())
    assert not page.open and len(page.all("img")) == 2


def test_a_day_is_measured_on_stays_that_last_at_least_as_long() -> None:
    """Two stays end on their second day, after less than 48 hours, and have wrong scores."""
    rows = pd.DataFrame(
        [
            (n, day, score, label, "test", day == 1 or n < 4)
            for n, (score, label) in enumerate([(0.9, 1), (0.8, 1), (0.2, 0), (0.1, 0),
                                                (0.05, 1), (0.95, 0)])
            for day in (1, 2)
        ],
        columns=["subject_id", "day", "score", "label", "split", "actionable"],
    )  # fmt: skip
    rows["hadm_id"], rows["change"] = rows.subject_id, None
    days = over_time._days(rows, load_config(overrides=["score.bootstrap=20"]))
    assert [(day.n, day.measured) for day in days] == [(6, 6), (6, 4)]
    assert days[0].auroc["value"] == pytest.approx(4 / 9)
    assert days[1].auroc["value"] == 1.0
    page = Page(render_over_time(over_time.OverTime("any", rows, days, [0])))
    assert "whose stay lasted at least this number of 24-hour days" in page.text


def test_chunks_that_have_a_score_are_not_scored_again(ran: Ran) -> None:
    ran.over_time()
    scored = {clean(c, DEFAULT) for rows in ((1, 2), (4,), (5,), (6,)) for c in chunks_of(*rows)}
    all_days = [(1,), (1, 2), (1, 2, 3), (4,), (5,), (6,)]
    new = {c for rows in all_days for c in chunks_of(*rows)} - scored
    counted = read_manifest(ran.spark, str(ran.root), "over_time")["chunks_scored"]
    assert 0 < counted == len(new)


def test_one_admission_over_time(ran: Ran) -> None:
    assert "1 admissions, 4 days" in ran.over_time(admission=11)
    with pytest.raises(UserError, match="--admission 999"):
        ran.over_time(admission=999)
    with pytest.raises(UserError, match="chunk: jobs/prepare"):
        ran.over_time("chunk.words=13")
    with pytest.raises(UserError, match=r"model\.max_tokens: jobs/prepare\.py was run with 128"):
        ran.over_time("model.max_tokens=64")
    with pytest.raises(UserError, match=r"profile: jobs/prepare\.py was run with default"):
        ran.over_time("profile=paper")
    record = json.loads((ran.root / "_manifests" / "over_time.json").read_text())
    assert record["model"] == "planted"


def test_a_model_with_the_same_name_and_other_weights_is_refused(ran: Ran, tmp_path: Path) -> None:
    other = shutil.copytree(ran.model, tmp_path / "model")
    weights = load_file(other / "model.safetensors")
    save_file({k: v + 1 if "bias" in k else v for k, v in weights.items()},
              other / "model.safetensors", {"format": "pt"})  # fmt: skip
    retrained = ran._replace(model=str(other))
    for run_job in (retrained.over_time, lambda: retrained.explain("explain.source=score")):
        with pytest.raises(UserError, match="planted has other weights than when it made the"):
            run_job()
    # It is not known on which patients a model from elsewhere was trained.
    assert "may have been trained on them" in (ran.root / "model_card.html").read_text()


NOTE_WORD = "zqxtold"  # a note's text
ROWS = "".join(
    f"{i},1,11,2020-01-0{1 + i % 3},,Nursing,,{NOTE_WORD} {os.urandom(40).hex()}\n"
    for i in range(400)
)
HEADER = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
JOBS = ("explain", "explain.source=score", "over_time", "audit")


def error_of(ran: Ran, job: str, notes: Path) -> str:
    """Run the job on these notes and return its error."""
    settings = [*ran.settings, f"data.notes={notes}"]
    with pytest.raises(UserError) as error:
        if job == "audit":
            with start_run(ran.spark, load_config(overrides=settings), "audit") as run:
                audit(run, Prepared.read(ran.spark, str(ran.root)))
        elif job == "over_time":
            ran.over_time(f"data.notes={notes}")
        else:
            ran.explain(f"data.notes={notes}", *([job] if "=" in job else []))
    return str(error.value)


@pytest.mark.parametrize("job", JOBS)
def test_truncated_notes_are_a_one_line_error_without_text(
    ran: Ran, job: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "NOTES.csv.gz"
    # Long enough that the header can be read, so that a Spark task meets the truncation.
    rows = "".join(
        f"{i},1,11,2020-01-01,,N,,{NOTE_WORD} {os.urandom(500).hex()}\n" for i in range(6000)
    )
    compressed = gzip.compress((HEADER + rows).encode())
    notes.write_bytes(compressed[: len(compressed) // 2])
    error = error_of(ran, job, notes)
    assert error.startswith(f"data.notes: {notes} cannot be read to its end") and "\n" not in error
    assert NOTE_WORD not in error + "".join(capfd.readouterr())


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    "broken",
    (
        # The CSV parser reads all rows up to the next quote as one text, without an error.
        f'900,1,11,2020-01-01,,Nursing,,"{NOTE_WORD} is open\n{ROWS}'
        f'901,1,11,2020-01-01,,N,,"{NOTE_WORD}"',
        # A truncated line has all its quotes.
        f"{ROWS}900,1,11,2020-01-01,,Nursing\n",
    ),
    ids=("a quote", "a truncated line"),
)
def test_rows_that_the_csv_parser_loses_are_an_error(
    ran: Ran, job: str, broken: str, tmp_path: Path
) -> None:
    (tmp_path / "NOTES.csv").write_text(HEADER + broken)
    name = job.partition(".")[0]
    published = sorted(ran.root.glob(f"{name}*/*"))
    error = error_of(ran, job, tmp_path / "NOTES.csv")
    assert error.startswith(f"data.notes: {tmp_path}/NOTES.csv has ") and "\n" not in error
    assert "a quote is not closed or not doubled" in error and NOTE_WORD not in error
    assert sorted(ran.root.glob(f"{name}*/*")) == published
    assert not list(ran.root.glob(f"_work/{name}/*"))
