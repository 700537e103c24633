"""Nights in a row: only new chunks are scored, and any night can be computed again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.vote import contributions, vote_score
from readmit_spark.insight.explain_job import ExplainRequest
from readmit_spark.nightly import nightly_job as nightly
from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.storage.text_ids import number_of
from readmit_spark.text_rules import DEFAULT
from tests import oracles
from tests.runs import run_explain, run_nightly
from tests.tables_in import Row, note, stay, words, write_csv
from tests.tiny import save_tiny_model

CANARY = "zqxcanary"
WORDS = 12  # a chunk
FIRST, SECOND, THIRD = (datetime(2020, 1, day, 2) for day in (2, 3, 4))

STAYS = [
    stay(1, 11, "2020-01-01", None),
    stay(2, 21, "2020-01-01", None),
    stay(3, 31, "2020-01-01", None),  # no notes
    stay(4, 41, "2020-01-01", None),  # a few words
    stay(5, 51, "2020-01-01", "2020-01-03 12:00:00"),  # leaves after the second night ...
    stay(5, 52, "2020-01-20", "2020-01-22"),  # ... and is readmitted within 30 days
    stay(6, 61, "2020-01-03", "2020-01-05"),  # admitted after the second night, not readmitted
    stay(7, 71, "2020-01-01", None, "NEWBORN"),
]


def written(row: int, subject: int, text: str, day: int, category: str = "Nursing") -> Row:
    row_of_note = note(
        row, subject, subject * 10 + 1, text, f"2020-01-0{day}", "20:00:00", category
    )
    return {**row_of_note, "STORETIME": f"2020-01-0{day} 21:00:00"}


NOTES = [
    written(
        1, 1, f"{CANARY}. Seen by Dr. [**Name**] {words(20)}", 1, '<script>alert("x")</script>'
    ),
    written(2, 1, words(7, 40), 1),
    written(3, 1, f"new {words(14, 60)}", 2),
    written(4, 2, words(30, 100), 1),
    written(5, 4, "as before", 1),
    written(6, 5, words(30, 200), 1),
    written(7, 6, words(18, 300), 3),
    written(8, 7, words(18, 400), 1),
    written(9, 1, words(14, 500), 3, "Discharge summary"),
]


class House(NamedTuple):
    spark: SparkSession
    folder: Path
    model: str

    def root(self) -> Path:
        return self.folder / "out"

    def config(
        self,
        *more: str,
        stays: Sequence[Row] = STAYS,
        notes: Sequence[Row] = NOTES,
        model: str | None = None,
    ) -> Config:
        return load_config(
            overrides=[
                f"data.admissions={write_csv(self.folder / 'ADMISSIONS.csv', stays)}",
                f"data.notes={write_csv(self.folder / 'NOTES.csv', notes)}",
                f"output.root={self.root()}", f"model.path={model or self.model}",
                "model.max_tokens=128", "chunk.mode=words", f"chunk.words={WORDS}",
                "chunk.min_tail_words=3",
                "nightly.alert_value=1", "score.bootstrap=20",
                "data.max_unread_share=0.2",  # one category is in no list
                *more,
            ]
        )  # fmt: skip

    def run(
        self,
        night: datetime,
        *more: str,
        stays: Sequence[Row] = STAYS,
        notes: Sequence[Row] = NOTES,
        model: str | None = None,
        estimate: bool = False,
    ) -> tuple[str, str]:
        """Return the summary lines and the progress lines of the job."""
        config = self.config(*more, stays=stays, notes=notes, model=model)
        log = io.StringIO()
        done = run_nightly(
            self.spark, config, Model(model or self.model, "tiny"), night, log, estimate
        )
        return done, log.getvalue()

    def manifest(self, night: datetime) -> dict[str, Any]:
        path = self.root() / "_manifests" / "nightly" / f"{night.isoformat().replace(':', '')}.json"
        manifest: dict[str, Any] = json.loads(path.read_text())
        return manifest

    def table(self, night: datetime, name: str) -> list[dict[str, Any]]:
        rows = pq.read_table(self.root() / self.manifest(night)["run"] / name).to_pylist()
        return sorted(rows, key=lambda row: str(row))

    def risk(self, night: datetime) -> dict[int, dict[str, Any]]:
        return {row["hadm_id"]: row for row in self.table(night, "patient_risk")}

    def copy(self, folder: Path, *nights: datetime) -> House:
        """Return a house of its own with these published nights."""
        copied = House(self.spark, folder, self.model)
        shutil.copytree(self.root(), copied.root())
        names = {night.isoformat().replace(":", "") for night in nights}
        for manifest in (copied.root() / "_manifests" / "nightly").iterdir():
            if manifest.stem not in names:
                manifest.unlink()
        for night in (copied.root() / "nightly").iterdir():
            if night.name not in names:
                shutil.rmtree(night)
        return copied


@pytest.fixture(scope="module")
def house(
    spark: SparkSession, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Three nights in a row."""
    three_nights = House(spark, tmp_path_factory.mktemp("house"), tiny_model)
    for night in (FIRST, SECOND, THIRD):
        three_nights.run(night)
    yield three_nights


def notes_by(night: datetime, subject: int) -> list[Row]:
    return [
        n
        for n in NOTES
        if n["SUBJECT_ID"] == str(subject)
        and (n["STORETIME"] or "") <= night.isoformat(sep=" ")
        and n["CATEGORY"] != "Discharge summary"
    ]


def by_hand(night: datetime, subject: int, model: str, tokenizer: ChunkTokenizer) -> list[float]:
    """Compute a patient's chunk probabilities without Spark and the job's tables."""
    text = " ".join(n["TEXT"] or "" for n in notes_by(night, subject))
    chunks = word_chunks(clean(text, DEFAULT), WORDS, 3)
    scorer = Scorer(model, precision="fp32", backend="auto", batch_tokens=1)
    ids = [np.array(e.input_ids, dtype=np.int32) for e in tokenizer.encode(chunks)]
    return [float(p) for p in scorer.score(ids)]


@pytest.mark.parametrize("night", [FIRST, SECOND, THIRD])
def test_scores_are_computed_from_the_notes_available_at_night(
    house: House, tokenizer: ChunkTokenizer, night: datetime
) -> None:
    scored = {FIRST: {11, 21, 51}, SECOND: {11, 21, 51}, THIRD: {11, 21, 61}}[night]
    risk = house.risk(night)
    assert set(risk) == scored
    for hadm, row in risk.items():
        expected = by_hand(night, hadm // 10, house.model, tokenizer)
        assert row["n_chunks"] == len(expected)
        assert row["max_probability"] == max(expected)
        assert row["score"] == pytest.approx(vote_score(expected, 2.0), abs=1e-15)
        assert row["n_notes"] == len(notes_by(night, hadm // 10))
    ranked = sorted(risk.values(), key=lambda row: -row["score"])
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    assert [row["alert"] for row in ranked] == [True, False, False]
    assert {row["hadm_id"]: row["reason"] for row in house.table(night, "unscored")} == {
        31: "no_notes",
        41: "too_short",
    }


def test_by_default_a_night_scores_whole_segments(
    house: House, spark: SparkSession, tokenizer: ChunkTokenizer, tmp_path: Path
) -> None:
    """The second night adds segments to the first patient's last chunk, or chunks after it."""
    other = House(spark, tmp_path, house.model)
    notes = [{**n, "TEXT": f"{n['TEXT']}. seen. {words(25, 700)}." if n["TEXT"] else None}
             for n in NOTES]  # fmt: skip
    for night in (FIRST, SECOND):
        other.run(night, "chunk.mode=segments", "model.max_tokens=64", notes=notes)
    of_patient = [n for n in notes if n["ROW_ID"] in {m["ROW_ID"] for m in notes_by(SECOND, 1)}]
    cleaned = clean(" ".join(n["TEXT"] or "" for n in of_patient), DEFAULT)
    short = replace(tokenizer, max_tokens=64)
    chunks = oracles.segment_chunks(cleaned, lambda text: short.count([text])[0], 62, 3)
    assert len(chunks) > 2
    scorer = Scorer(house.model, precision="fp32", backend="auto", batch_tokens=1)
    ids = [np.array(e.input_ids, dtype=np.int32) for e in short.encode(chunks)]
    row = other.risk(SECOND)[11]
    assert row["n_chunks"] == len(chunks)
    expected = vote_score([float(p) for p in scorer.score(ids)], 2.0)
    assert row["score"] == pytest.approx(expected, abs=1e-15)
    counts = other.manifest(SECOND)["counts"]
    assert 0 < counts["chunks_to_score"] < len(chunks)


def test_only_what_is_new_is_prepared_and_scored(house: House) -> None:
    counts = [house.manifest(night)["counts"] for night in (FIRST, SECOND, THIRD)]
    assert [c["documents_prepared"] for c in counts] == [4, 1, 1]
    new = [len(house.table(n, "chunks")) for n in (FIRST, SECOND, THIRD)]
    assert [c["documents"] for c in counts] == [4, 4, 4]
    # The second night: the new note's chunk, and the one before it, which is longer now.
    assert 1 <= counts[1]["chunks_to_score"] < new[0]
    assert counts[2]["chunks_to_score"] == 2  # 18 words of the new patient


def test_a_score_is_compared_with_the_night_before(house: House) -> None:
    first, second, third = (house.risk(night) for night in (FIRST, SECOND, THIRD))
    assert {row["previous_score"] for row in first.values()} == {None}
    assert second[21]["change"] == 0.0
    assert second[11]["change"] == second[11]["score"] - first[11]["score"] != 0.0
    assert third[61]["previous_score"] is None
    history = [(p["as_of"].replace(tzinfo=None), p["score"]) for p in third[11]["history"]]
    assert history == [
        (FIRST, first[11]["score"]), (SECOND, second[11]["score"]), (THIRD, third[11]["score"]),
    ]  # fmt: skip
    assert [row["day_of_stay"] for row in (first[11], second[11], third[11])] == [2, 3, 4]


def test_the_drivers_have_their_share_of_the_score_and_their_passages(
    house: House, tokenizer: ChunkTokenizer
) -> None:
    row = house.risk(SECOND)[11]
    probabilities = by_hand(SECOND, 1, house.model, tokenizer)
    parts = contributions(probabilities, 2.0)
    order = sorted(range(len(parts)), key=lambda i: (-probabilities[i], i))
    assert len(parts) > 3
    assert [d["chunk_index"] for d in row["drivers"]] == order[:3]
    for driver in row["drivers"]:
        share = parts[driver["chunk_index"]] / row["score"]
        assert driver["share"] == pytest.approx(share, abs=1e-12)
    texts = {int(n["ROW_ID"] or 0): n["TEXT"] or "" for n in NOTES}
    text = " ".join(n["TEXT"] or "" for n in notes_by(SECOND, 1))
    chunks = word_chunks(clean(text, DEFAULT), WORDS, 3)
    for driver in row["drivers"]:
        passage_text = " ".join(
            clean(texts[p["row_id"]][p["start"] : p["end"]], DEFAULT) for p in driver["passages"]
        )
        assert passage_text.split() == chunks[driver["chunk_index"]].split()


def test_a_night_with_nothing_new_scores_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("score_chunks", "check_scorer"):
        monkeypatch.setattr(nightly, name, lambda *_: pytest.fail("a model was used"))
    night = datetime(2020, 1, 4, 3)
    scheduler = house.spark.sparkContext._jsc.sc().dagScheduler()
    jobs = scheduler.numTotalJobs()
    try:
        house.run(night)
        assert scheduler.numTotalJobs() - jobs < 40  # each takes a tenth of a second or more
        assert house.manifest(night)["counts"]["chunks_to_score"] == 0
        assert house.manifest(night)["counts"]["documents_prepared"] == 0
        assert {h: r["score"] for h, r in house.risk(night).items()} == {
            h: r["score"] for h, r in house.risk(THIRD).items()
        }
    finally:
        (house.root() / "_manifests" / "nightly" / "2020-01-04T030000.json").unlink(missing_ok=True)


ID_COLUMNS = ("SUBJECT_ID", "HADM_ID", "ROW_ID")


def with_text_ids(rows: Sequence[Row]) -> list[Row]:
    return [
        {name: f"zqx/{v}" if name in ID_COLUMNS and v else v for name, v in row.items()}
        for row in rows
    ]


@pytest.mark.slow
def test_the_list_shows_ids_that_are_texts(
    house: House, spark: SparkSession, tmp_path: Path
) -> None:
    other = House(spark, tmp_path, house.model)
    given = {"stays": with_text_ids(STAYS), "notes": with_text_ids(NOTES)}
    printed = [other.run(night, "data.ids=text", **given) for night in (FIRST, SECOND, THIRD)]
    assert "zqx" not in str(printed)
    runs = [(h, h.manifest(THIRD)["run"]) for h in (house, other)]
    numbers, texts = (
        list(csv.DictReader((h.root() / run / "worklist.csv").open(newline=""))) for h, run in runs
    )
    assert [row["hadm_id"] for row in texts] == [f"zqx/{row['hadm_id']}" for row in numbers]
    for number, text in zip(numbers, texts, strict=True):
        assert {n: v.replace("zqx/", "") for n, v in text.items()} == number
    page = (other.root() / other.manifest(THIRD)["run"] / "worklist.html").read_text()
    assert '<th scope="row">zqx/5</th><td>zqx/51</td>' in page  # who left
    assert '"note":"zqx/7"' in page
    used = {row["text"] for row in other.table(THIRD, "ids")}
    assert {"zqx/5", "zqx/51", "zqx/61", "zqx/7"} <= used and "zqx/71" not in used
    config = other.config("data.ids=text", "explain.steps=8", **given)
    admission = number_of(spark, config, "zqx/61", "--admission")
    request = ExplainRequest(admission=admission)
    run_explain(spark, config, Model(house.model, "tiny"), request)
    page = (other.root() / "explain_zqx_61.html").read_text()
    assert "Admission zqx/61, patient zqx/6" in page and "note zqx/7" in page
    assert str(admission) not in page


def test_an_estimate_counts_and_publishes_nothing(house: House) -> None:
    night = datetime(2020, 1, 3, 22)
    printed, _ = house.run(night, estimate=True)
    assert "chunks      2 to score" in printed
    assert "min with torch fp32" in printed and "earlier nights" in printed
    assert not list((house.root() / "_manifests" / "nightly").glob("2020-01-03T22*"))
    assert not list((house.root() / "nightly").glob("2020-01-03T22*/*"))


def test_an_estimate_of_the_first_night_measures_the_rate(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    printed, _ = House(spark, tmp_path, tiny_model).run(FIRST, estimate=True)
    assert "measured now on" in printed


def test_a_replay_with_more_data_gives_the_same_night(house: House) -> None:
    before = house.manifest(SECOND)["run"]
    late = {**written(90, 2, words(40, 900), 2), "STORETIME": "2020-01-03 09:00:00"}
    printed, _ = house.run(
        SECOND, notes=[*NOTES, late], stays=[*STAYS, stay(9, 91, "2020-01-03", None)]
    )
    assert "published before, and computed again: identical; nothing was changed" in printed
    assert house.manifest(SECOND)["run"] == before


def test_later_changes_of_the_source_are_printed_and_the_night_is_kept(house: House) -> None:
    before = house.manifest(SECOND)["run"]
    edited = [{**n, "TEXT": words(30, 800)} if n["ROW_ID"] == "4" else n for n in NOTES]
    edited = [{**n, "ISERROR": "1"} if n["ROW_ID"] == "2" else n for n in edited]
    backdated = written(91, 5, words(20, 950), 2)
    printed, _ = house.run(SECOND, notes=[*edited, backdated])
    assert "differs in 3 patients" in printed
    assert "1 notes removed or no longer readable" in printed
    assert "1 notes added under a time before the night, 1 notes edited" in printed
    assert "output.overwrite=true replaces it" in printed
    assert house.manifest(SECOND)["run"] == before
    assert CANARY not in printed


def test_a_night_without_earlier_nights_has_the_same_scores_to_the_last_bit(
    house: House, spark: SparkSession, tmp_path: Path
) -> None:
    alone = House(spark, tmp_path, house.model)
    alone.run(THIRD)
    columns = ("score", "n_chunks", "max_probability", "mean_probability", "rank", "drivers")
    for hadm, row in alone.risk(THIRD).items():
        assert {c: row[c] for c in columns} == {c: house.risk(THIRD)[hadm][c] for c in columns}


def test_another_model_scores_all_chunks_again(house: House, tmp_path: Path) -> None:
    other_house = house.copy(tmp_path, FIRST)
    (tmp_path / "other").mkdir()
    other = save_tiny_model(tmp_path / "other", seed=8)
    other_house.run(SECOND, model=other)
    first, second = other_house.risk(FIRST), other_house.risk(SECOND)
    # All patients with notes except the one whose notes are too short for a chunk.
    assert other_house.manifest(SECOND)["counts"]["documents_prepared"] == 3
    for hadm, row in second.items():
        assert row["previous_score"] is None
        assert row["score"] != first[hadm]["score"]
        assert len({point["basis"] for point in row["history"]}) == 2
    models = {row["model"] for row in other_house.table(SECOND, "chunks")}
    assert len(models) == 1 and models != {r["model"] for r in other_house.table(FIRST, "chunks")}


def test_a_damaged_night_is_left_out_with_a_message(house: House, tmp_path: Path) -> None:
    other_house = house.copy(tmp_path, FIRST, SECOND)
    (part, *_) = (other_house.root() / other_house.manifest(SECOND)["run"] / "chunks").glob(
        "*.parquet"
    )
    part.unlink()
    _, log = other_house.run(THIRD)
    assert "the night of 2020-01-03 02:00:00 is left out" in log
    assert other_house.manifest(THIRD)["previous_night"] == FIRST.isoformat()
    assert {h: r["score"] for h, r in other_house.risk(THIRD).items()} == {
        h: r["score"] for h, r in house.risk(THIRD).items()
    }


def test_an_empty_list_because_no_discharge_is_understood_is_an_error(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    ward = House(spark, tmp_path, tiny_model)
    here = [stay(i, i * 10 + 1, "2020-01-01", "-") for i in (1, 2)]
    gone = [stay(i, i * 10 + 1, "2019-01-01", "2019-01-02") for i in range(3, 30)]
    with pytest.raises(UserError) as error:
        ward.run(FIRST, stays=[*here, *gone])
    assert "2 admissions may be in the house" in str(error.value)
    with pytest.raises(UserError, match="2 of 2 values of DISCHTIME are not understood"):
        ward.run(FIRST, stays=here)
    assert not (ward.root() / "worklist.html").exists()
    here.append(stay(2, 22, "2020-01-01", None))
    lines, _ = ward.run(FIRST, "data.max_unread_share=0.1", stays=[*here, *gone],
                        notes=[note(1, 2, 22, words(20)), *(note(i, 3, 31, "a") for i in range(20)),
                               note(21, 1, 11, "b", category="zqx")])  # fmt: skip
    assert "1 patients in the house" in lines
    assert "2 more admissions may be in the house" in lines
    facts = ward.manifest(FIRST)
    assert facts["counts"]["uncertain"] == facts["admissions"]["dischtime_unread"] == 2
    assert facts["notes_read"]["category_unread"] == 1
    page = (ward.root() / "worklist.html").read_text()
    for text in ("2 more admissions may be", "admissions: dischtime unread", "category unread"):
        assert text in page


def test_a_time_that_the_data_does_not_reach_is_refused_unless_told_to(
    house: House, spark: SparkSession, tmp_path: Path
) -> None:
    other_house = House(spark, tmp_path, house.model)
    before, after = datetime(1, 1, 1, 2), datetime(2120, 1, 4, 2)
    with pytest.raises(UserError, match=r"nobody is in the house then.*from 2020-01-01"):
        other_house.run(before)
    with pytest.raises(UserError, match=r"last admission is of 2020-01-20 .* of 2020-01-03 21:00"):
        other_house.run(after)
    assert not (other_house.root() / "worklist.html").exists()
    printed, _ = other_house.run(before, "nightly.any_time=true")
    assert "0 patients in the house, 0 scored, 0 alerts" in printed
    page = (other_house.root() / "worklist.html").read_text()
    assert "<html" in page
    other_house.run(after, "nightly.any_time=true")
    printed, log = other_house.run(FIRST)
    assert "left out" not in log
    assert other_house.manifest(FIRST)["previous_night"] == before.isoformat()
    assert len(other_house.risk(FIRST)) == 3


@pytest.mark.slow
def test_the_job_names_the_night_s_own_list_and_whose_list_is_at_the_root(house: House) -> None:
    """A night before the last one does not touch the list that the ward sees."""
    night = datetime(2020, 1, 3, 1)
    at_root = (house.root() / "worklist.html").read_text()
    try:
        for _ in ("published", "published before, and computed again"):
            printed, _ = house.run(night)
            own = house.root() / house.manifest(night)["run"] / "worklist.html"
            assert own.exists()
            assert printed.splitlines()[-2:] == [
                f"worklist  {own}",
                f"the list at the root stays that of {THIRD.isoformat()}, a later night",
            ]
            assert (house.root() / "worklist.html").read_text() == at_root
        printed, _ = house.run(THIRD)
        assert printed.splitlines()[-1] == f"copy      {house.root()}/worklist.html"
    finally:
        (house.root() / "_manifests" / "nightly" / "2020-01-03T010000.json").unlink(missing_ok=True)


def test_outcomes_of_earlier_lists_are_shown_when_they_are_settled(house: House) -> None:
    """Two patients were discharged. One was readmitted on the 20th; the outcome is settled on 2
    February. The outcome of the other is settled on 4 February at noon."""
    nights = [datetime(2020, 1, 21, 2), datetime(2020, 2, 4, 2), datetime(2020, 2, 4, 13)]
    outcomes = []
    for night in nights:
        house.run(night, "nightly.any_time=true")  # nobody is admitted any more
        outcomes.append(house.manifest(night)["outcomes"])
    assert outcomes[0] is None
    assert [(o["n"], o["readmitted"]) for o in outcomes[1:]] == [(1, 1), (2, 1)]
    last = house.risk(SECOND)[51]["score"], house.risk(THIRD)[61]["score"]
    assert outcomes[2]["auroc"]["value"] == (1.0 if last[0] > last[1] else 0.0)
    assert (outcomes[2]["from"], outcomes[2]["to"]) == ("2020-01-03", "2020-01-05")


def test_no_note_text_is_stored_or_shown_unless_configured(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    other_house = House(spark, tmp_path, tiny_model)
    printed, log = other_house.run(FIRST)

    def files_with_text() -> set[str]:
        names = set()
        for path in other_house.root().rglob("*"):
            if path.is_file():
                raw = path.read_bytes()
                if path.suffix == ".parquet":
                    raw += str(pq.read_table(path).to_pydict()).encode()
                if CANARY.encode() in raw:
                    names.add(path.name)
        return names

    assert files_with_text() == set()
    assert CANARY not in printed + log
    printed, log = other_house.run(FIRST, "nightly.include_text=true", "output.overwrite=true")
    assert files_with_text() == {"worklist.html"}
    assert CANARY not in printed + log
    page = (other_house.root() / "worklist.html").read_text()
    assert "<script>alert" not in page  # a category


def test_a_deleted_admission_has_left_and_a_merged_one_keeps_its_score(house: House) -> None:
    """Admission 21 was deleted; admission 11 and its notes were merged into 12."""
    night = datetime(2020, 1, 4, 4)
    stays = [s for s in STAYS if s["HADM_ID"] not in ("11", "21")]
    notes = [{**n, "HADM_ID": "12"} if n["HADM_ID"] == "11" else n for n in NOTES]
    try:
        house.run(night, stays=[*stays, stay(1, 12, "2020-01-01", None)], notes=notes)
        assert set(house.risk(night)) == {12, 61}
        assert house.risk(night)[12]["score"] == house.risk(THIRD)[11]["score"]
        assert house.manifest(night)["counts"]["chunks_to_score"] == 0
        page = (house.root() / house.manifest(night)["run"] / "worklist.html").read_text()
        assert page.count("no longer in the data") >= 2
    finally:
        (house.root() / "_manifests" / "nightly" / "2020-01-04T040000.json").unlink(missing_ok=True)


def broken() -> Any:
    """Return a function that builds a scorer which fails at the first batch."""

    def build(settings: Any) -> Any:  # nested, so that it travels to the worker by value
        class Broken:
            backend = "broken"

            def stream(self, batches: Any) -> Any:
                for _ in batches:
                    raise RuntimeError("the GPU fell off the bus")
                yield

        return Broken()

    return build


@pytest.mark.slow
def test_a_failing_worker_leaves_no_partial_night(
    house: House, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_house = House(spark, tmp_path, house.model)
    with monkeypatch.context() as patch:
        score_chunks = nightly.score_chunks
        patch.setattr(
            nightly, "score_chunks", lambda *arguments: score_chunks(*arguments, broken())
        )
        with pytest.raises(Exception, match="the GPU fell off the bus") as error:
            other_house.run(FIRST)
        assert CANARY not in str(error.value)
    assert not list(other_house.root().glob("nightly/*/*"))
    assert not (other_house.root() / "_manifests" / "nightly").exists()
    other_house.run(FIRST)
    for hadm, row in other_house.risk(FIRST).items():
        assert row == {**house.risk(FIRST)[hadm]}


def test_wrong_settings_are_user_errors(house: House) -> None:
    with pytest.raises(UserError, match=r"nightly\.window"):
        house.run(FIRST, "nightly.window=discharge")
    with pytest.raises(UserError, match=r"no thresholds for 3days"):
        house.run(FIRST, "nightly.alert=precision", "nightly.alert_value=0.5")
    assert not list(house.root().glob("_work/*/*"))


@pytest.mark.slow
def test_a_night_of_the_paper_profile_reads_its_notes(
    spark: SparkSession, tiny_model: str, tmp_path: Path
) -> None:
    wrong = {**written(10, 1, words(14, 600), 1), "ISERROR": "1"}
    basis, rows = {}, {}
    for profile in ("default", "paper"):
        folder = tmp_path / profile
        folder.mkdir()
        house = House(spark, folder, tiny_model)
        # On 4 January at 2:00 the summary of the day before is within the window of 3 days.
        house.run(THIRD, f"profile={profile}", notes=[*NOTES, wrong])
        rows[profile] = {r["row_id"] for r in house.table(THIRD, "notes") if r["hadm_id"] == 11}
        basis[profile] = house.manifest(THIRD)["basis"]
    assert rows == {"default": {1, 2, 3}, "paper": {1, 2, 3, 9, 10}}
    assert basis["default"] != basis["paper"]  # their scores are not comparable
