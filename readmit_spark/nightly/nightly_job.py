"""Nightly: the patients in the house as of a moment, scored from what is new, and published.

All of a night is under one manifest. What a later night can use again is in its tables, so there is
no store beside them to keep in step: the last nights are the store, and a night that is lost costs
its inference once more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.code_version import code_version
from readmit_spark.config import Config, to_dict
from readmit_spark.nightly import in_house as night
from readmit_spark.nightly import night_chunks, night_risk
from readmit_spark.nightly.cost_plan import plan_lines
from readmit_spark.nightly.model_in_use import Made, check_numbers, made_with
from readmit_spark.nightly.published_nights import (
    Nights,
    find_nights,
    night_name,
    put_front_again,
    tables_of,
)
from readmit_spark.nightly.replay import differences
from readmit_spark.nightly.worklist_contents import night_page, outcome_figures
from readmit_spark.nightly.worklist_page import render_worklist, worklist_csv
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.notes.prepare_job import all_admissions
from readmit_spark.progress import Progress
from readmit_spark.scoring.locate import Located
from readmit_spark.scoring.score_chunks import score_chunks
from readmit_spark.scoring.workload import Workload, workload
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done

STAGES = 5
FOLLOWED_DAYS = 120  # after discharge: the outcome takes 30, and figures want months of them
FRONT = ("worklist.html", "worklist.csv")  # of these the root has a copy of the last night's


def nightly(
    spark: SparkSession,
    config: Config,
    located: Located,
    as_of: datetime,
    progress: Progress,
    now: Callable[[], datetime],
    plan: bool = False,
) -> str:
    """Publishes the night under output.root, and gives the lines that a person reads at the end.

    With `plan` nothing is scored or published: the lines tell what there would be to do. A night
    that is published already is computed again and held against what is there; it is replaced only
    with output.overwrite.
    """
    started = now()
    made = made_with(spark, config, located)
    publication = Publication(spark, config.output_root, night_name(as_of), True, now)
    try:
        nights = find_nights(
            spark, config.output_root, as_of, config.nightly.lookback, progress.say
        )
        run = _Run(spark, config, as_of, made, nights, publication, progress)
        admissions = run.admissions()
        notes = run.notes(admissions.house)
        text = run.new_text(notes)
        if plan:
            lines = plan_lines(text.todo, text.work, text.counts, nights, made, config, progress)
        else:
            lines = run.result(admissions, notes, text, run.chunks(notes, text), started, now)
    finally:
        publication.abandon()  # whatever has not been published
    return lines


@dataclass(frozen=True)
class _Admissions:
    """known: ADMISSIONS as it stood. house: of them the patients in the house."""

    known: DataFrame
    house: DataFrame


@dataclass(frozen=True)
class _Notes:
    """notes: with their text. documents: a digest an admission. read: how many, by why not used."""

    notes: DataFrame
    documents: DataFrame
    read: dict[str, int]


@dataclass(frozen=True)
class _Text:
    """known: what earlier nights leave. prepared: the chunks of new documents. todo: the distinct
    chunks to score."""

    known: night_chunks.Known
    prepared: DataFrame
    todo: DataFrame
    work: Workload
    counts: dict[str, int]


@dataclass(frozen=True)
class _Scored:
    """chunks: the night's table, n of them with their probability. backend: what computed the new
    ones; None where there were none."""

    chunks: DataFrame
    n: int
    backend: str | None


@dataclass(frozen=True)
class _Run:
    spark: SparkSession
    config: Config
    as_of: datetime
    made: Made
    nights: Nights
    publication: Publication
    progress: Progress

    def admissions(self) -> _Admissions:
        with self._stage("patients in the house"):
            distinct, _ = all_admissions(self.spark, self.config)
            known = night.known_by(self._keep(distinct, "admissions"), self.as_of)
            return _Admissions(known, self._keep(night.in_house(known, self.as_of), "house"))

    def notes(self, house: DataFrame) -> _Notes:
        with self._stage("their notes"):
            whole, used = read_checked_notes(self.spark, self.config), Observation("used")
            notes = self._keep(
                night.night_notes(whole.rows, house, self.as_of, self.config.nightly.window, used),
                "text",
            )
            whole.check()
            documents = self._keep(night.document_digests(notes), "documents")
            return _Notes(notes, documents, dict(used.get))

    def new_text(self, notes: _Notes) -> _Text:
        with self._stage("new text"):
            earlier = tables_of(self.spark, self.nights.used, "chunks", night_chunks.CHUNKS)
            known = night_chunks.known(earlier, self.made.preparation, self.made.model)
            known = night_chunks.Known(
                self._keep(known.documents, "known"), self._keep(known.scores, "known_scores")
            )
            wanted = self._keep(night_chunks.to_prepare(notes.documents, known), "wanted")
            prepared = self._keep(
                night_chunks.prepare_documents(
                    night.document_notes(notes.notes, wanted), self.config.chunk,
                    self.made.tokenizer,
                ),
                "prepared",
            )  # fmt: skip
            todo = self._keep(night_chunks.to_score(prepared, known), "todo")
            work = workload(todo)
            counts = {
                "documents": notes.documents.count(),
                "documents_prepared": wanted.count(),
                "chunks_to_score": work.distinct,
            }
            self.progress.say(
                f"{counts['documents']:,} patients with notes, {counts['documents_prepared']:,} "
                f"with new ones; {work.distinct:,} chunks to score, {work.tokens:,} tokens"
            )
            return _Text(known, prepared, todo, work, counts)

    def chunks(self, notes: _Notes, text: _Text) -> _Scored:
        with self._stage("new scores"):
            scores, backend = text.known.scores, None
            if text.work.distinct:
                backend = check_numbers(text.todo, self.made, self.config, self.progress)
                new = score_chunks(
                    text.todo, text.work.tasks, self.made.settings, self.made.model
                ).drop("model")
                scores = scores.unionByName(self._keep(new, "scores"))
            chunks = self.publication.write_table(
                night_chunks.night_chunks(
                    notes.documents, text.known, text.prepared, scores,
                    self.made.preparation, self.made.model,
                ),
                "chunks",
            )  # fmt: skip
            scored = chunks.where("digest is not null")
            lost = scored.where("probability is null").count()
            if lost:
                raise RuntimeError(f"{lost:,} chunks have no score")
            return _Scored(chunks, scored.count(), backend)

    def result(
        self,
        admissions: _Admissions,
        notes: _Notes,
        text: _Text,
        scored: _Scored,
        started: datetime,
        now: Callable[[], datetime],
    ) -> str:
        with self._stage("risk and worklist"):
            tables = self._tables(admissions, notes, scored.chunks)
            if self.nights.own and not self.config.output.overwrite:
                put_front_again(self.spark, self.config.output_root, self.nights, FRONT)
                return differences(self.spark, self.nights.own, self.publication.path)
            outcomes = outcome_figures(
                night_risk.outcomes(
                    tables["followed"], label_admissions(admissions.known, self.config),
                    self.as_of, self.made.basis, self.config.label.horizon_days,
                ),
                self.config,
            )  # fmt: skip
        facts: dict[str, Any] = {
            "as_of": self.as_of.isoformat(),
            "previous_night": self.nights.previous and self.nights.previous.as_of.isoformat(),
            "started": started.isoformat(timespec="seconds"),
            "code": code_version(),
            "config": to_dict(self.config),
            "model": self.made.model,
            "basis": self.made.basis,
            "c": self.made.c,
            "backend": scored.backend,
            "notes": notes.read,
            "counts": {
                "in_house": admissions.house.count(),
                "scored": tables["patient_risk"].count(),
                "alerts": tables["patient_risk"].where("alert").count(),
                "chunks": scored.n,
                **text.counts,
            },
            "tokens_scored": text.work.tokens,
            "outcomes": outcomes,
            "seconds": self.progress.seconds,
        }
        page = night_page(
            self.spark, tables, notes.notes, admissions.known, self.nights, self.made, facts,
            self.config,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in FRONT]
            files[0].write_text(render_worklist(page), encoding="utf-8")
            files[1].write_text(worklist_csv(page), encoding="utf-8")
            for file in files:
                self.publication.put(file, file.name)
            facts["finished"] = now().isoformat(timespec="seconds")
            self.publication.publish(facts, front=files if self.nights.is_last else ())
        return _told(facts, self.config.output_root)

    def _tables(
        self, admissions: _Admissions, notes: _Notes, chunks: DataFrame
    ) -> dict[str, DataFrame]:
        write = self.publication.write_table
        risk_before = night_risk.risk_before(self.spark, self.nights.previous)
        followed_before = night_risk.followed_before(self.spark, self.nights.previous)
        risk = write(
            night_risk.patient_risk(
                chunks, notes.documents, admissions.house, risk_before, self.as_of,
                self.made.basis, self.made.c, self.made.alert,
            ),
            "patient_risk",
        )  # fmt: skip
        return {
            "patient_risk": risk,
            "unscored": write(
                night_risk.unscored(admissions.house, notes.documents, risk), "unscored"
            ),
            "notes": write(notes.notes.drop("text"), "notes"),
            "followed": write(
                night_risk.followed(
                    risk, followed_before, admissions.known, self.as_of, FOLLOWED_DAYS
                ),
                "followed",
            ),
        }  # fmt: skip

    def _keep(self, frame: DataFrame, name: str) -> DataFrame:
        return self.publication.write_work(frame, name)

    def _stage(self, name: str) -> Any:
        return self.progress.stage(name, tasks_done(self.spark))


def _told(facts: dict[str, Any], root: str) -> str:
    counts = facts["counts"]
    return (
        f"night of {facts['as_of']}: {counts['in_house']:,} patients in the house, "
        f"{counts['scored']:,} scored, {counts['alerts']:,} alerts; {counts['chunks']:,} chunks, "
        f"{counts['chunks_to_score']:,} of them new\n"
        f"worklist  {root}/{FRONT[0]}"
    )
