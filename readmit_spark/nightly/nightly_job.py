"""Nightly: score the patients in the house at an as-of time and publish the worklist.

Only new chunks are scored. A night's tables hold everything that later nights can reuse, so there
is no separate store that could disagree with them. A lost night costs only its inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.code_version import code_version
from readmit_spark.config import required
from readmit_spark.errors import UserError
from readmit_spark.nightly import in_house, night_chunks, night_risk
from readmit_spark.nightly.alerts import AlertRule, alert_rule, last_alert_day
from readmit_spark.nightly.check_time import (
    check_anybody,
    check_not_after_data,
    check_source,
    old_sources,
)
from readmit_spark.nightly.in_house import HouseFacts
from readmit_spark.nightly.model_in_use import ModelInUse, model_in_use
from readmit_spark.nightly.night_estimate import estimate_lines
from readmit_spark.nightly.published_nights import (
    Nights,
    find_nights,
    restore_root_copies,
    table_of_night,
    tables_of_nights,
)
from readmit_spark.nightly.replay import differences
from readmit_spark.nightly.risk_assessments import FILE, risk_assessments
from readmit_spark.nightly.shown_columns import shown_columns
from readmit_spark.nightly.worklist_contents import outcome_figures, worklist
from readmit_spark.nightly.worklist_page import render_worklist, worklist_csv
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import distinct_chunks, score_chunks
from readmit_spark.scoring.scorer_settings import check_scorer, scorer_settings
from readmit_spark.scoring.workload import NO_WORK, Workload, workload
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.driver_table import empty_table, keep_in_driver
from readmit_spark.storage.run import Run
from readmit_spark.storage.schemas import struct_type
from readmit_spark.storage.table_source import ingested_format
from readmit_spark.storage.text_ids import TABLE, ids_in, ids_of_inputs, published_ids, texts_of
from readmit_spark.storage.unread import check_row_ids

STAGES = 5
FOLLOWED_DAYS = 120  # after discharge: outcomes take 30 days, and figures need months of them
PAGES = ("worklist.html", "worklist.csv")
_SCORES = struct_type(digest=T.StringType(), probability=T.DoubleType())


def nightly(run: Run, model: Model, as_of: datetime, estimate: bool = False) -> str:
    """Publish the night and return the summary lines.

    A night that was published before is computed again and compared with the published one; it is
    replaced only with output.overwrite. estimate: score and publish nothing, and return the lines
    of the night estimate.
    """
    config = run.config
    source = ingested_format(run.spark, required(config.data.notes, "data.notes"))
    check_source(source)
    if config.nightly.fhir:
        required(config.data.time_zone, "data.time_zone")
    settings = scorer_settings(run, model, config.model.max_tokens, config.text_rules)
    in_use = model_in_use(config, model, settings)
    alert = alert_rule(
        config.nightly.alert, config.nightly.alert_value, config.nightly.window, in_use.fits,
        last_alert_day(config),
    )  # fmt: skip
    nights = find_nights(run, as_of, config.nightly.lookback)
    night = _NightRun(run, as_of, in_use, alert, nights, source)
    admissions = night.admissions()
    notes = night.notes(admissions)
    new_text = night.new_text(notes)
    if estimate:
        return estimate_lines(
            run, new_text.prepared, new_text.to_score, new_text.work, new_text.counts, nights,
            in_use, night.threshold(),
        )  # fmt: skip
    return night.publish(admissions, notes, new_text, night.chunks(new_text))


@dataclass(frozen=True)
class _Admissions:
    """Tables of admissions.

    admissions_at: all admissions as recorded at as-of. in_house: those of the patients in the
    house. facts: their number, and times of all admissions. counts: of the rows that were read.
    shown: hadm_id -> what the list shows of `nightly.columns` and `nightly.actions`.
    """

    admissions_at: DataFrame
    in_house: DataFrame
    facts: HouseFacts
    counts: dict[str, int]
    shown: dict[int, dict[str, str]]


@dataclass(frozen=True)
class _Notes:
    """The notes that the night reads.

    notes: with their texts. documents: a digest for each of the n admissions that have notes.
    counts: notes by reason. last: when the last note of a patient in the house could be read. read:
    counts of all notes of the table. ids: the texts of all ids, with data.ids=text.
    """

    notes: DataFrame
    documents: DataFrame
    n: int
    counts: dict[str, int]
    last: datetime | None
    read: dict[str, int]
    ids: DataFrame | None


@dataclass(frozen=True)
class _NewText:
    """The text that earlier nights have not scored.

    earlier: chunks of earlier nights that can be reused, with their probabilities. prepared: the
    chunks of new documents; equal ones of earlier nights have a probability. to_score: the distinct
    ones without.
    """

    earlier: DataFrame
    prepared: DataFrame
    to_score: DataFrame
    work: Workload
    counts: dict[str, int]


@dataclass(frozen=True)
class _Chunks:
    """The chunks of the night.

    table: the `chunks` table as written; n of its rows have a probability. backend: computed the
    new probabilities; None if there were none.
    """

    table: DataFrame
    n: int
    backend: str | None


@dataclass(frozen=True)
class _NightRun:
    """The stages of one night. Each returns its results, which the next stages take."""

    run: Run
    as_of: datetime
    in_use: ModelInUse
    alert: AlertRule
    nights: Nights
    source: str | None  # format of the tables, where jobs/ingest.py wrote them

    def threshold(self) -> float:
        """Return a score at which alerts begin, as far as it is known before scoring."""
        if self.alert.lowest is not None and not self.in_use.fits.has_risks:
            return self.alert.lowest
        config = self.run.config
        return self.in_use.model.alert_threshold(config, [config.nightly.window])

    def admissions(self) -> _Admissions:
        run = self.run
        with run.stage("patients in the house"):
            table, counts = all_admissions(run)
            admissions_at = in_house.admissions_at(table, self.as_of)
            house = in_house.in_house(admissions_at, self.as_of, run.config)
            facts = in_house.house_facts(table, self.as_of, run.config)
            if facts.uncertain and not facts.n:
                raise UserError(
                    f"data.admissions: {facts.uncertain:,} admissions may be in the house, but a "
                    "time of each is not understood or lies before ADMITTIME, so the list would be "
                    "empty; correct ADMITTIME, DISCHTIME and DEATHTIME"
                )
            if not run.config.nightly.any_time:
                check_anybody(self.as_of, facts.n, facts.times)
            shown = shown_columns(run.spark, run.config, house, self.as_of)
            return _Admissions(admissions_at, house, facts, counts, shown)

    def notes(self, admissions: _Admissions) -> _Notes:
        run = self.run
        with run.stage("their notes"):
            source, counts = read_checked_notes(run.spark, run.config), Observation("used")
            repeated, share = Observation("repeated"), run.config.data.max_unread_share
            notes = run.write_temp(
                in_house.night_notes(
                    source.rows,
                    admissions.in_house,
                    in_house.night_rule(run.config, self.as_of),
                    counts,
                    repeated,
                ),
                "text",
            )
            read = source.check(run.say) | repeated.get
            check_row_ids(
                source.path, read["repeated_row_id"], counts.get["usable"], share, run.say
            )
            used, last = in_house.split_counts(counts)
            if not run.config.nightly.any_time:
                check_not_after_data(self.as_of, admissions.facts.times, last)
            documents, n = keep_in_driver(in_house.document_digests(notes))
            return _Notes(notes, documents, n, used, last, read, ids_of_inputs(run))

    def new_text(self, notes: _Notes) -> _NewText:
        run, in_use = self.run, self.in_use
        with run.stage("new text"):
            earlier = night_chunks.earlier_chunks(
                tables_of_nights(run.spark, self.nights.used, "chunks"), notes.documents,
                in_use.preparation.key, in_use.score_key,
            )  # fmt: skip
            reused, new_documents, n_new = earlier.chunks, notes.documents, notes.n
            if self.nights.used:
                reused = run.write_temp(reused, "earlier")
                to_prepare = night_chunks.to_prepare(notes.documents, reused)
                new_documents, n_new = keep_in_driver(to_prepare)
            prepared = night_chunks.prepare_documents(
                in_house.document_notes(notes.notes, new_documents), in_use.preparation,
            ).join(earlier.scores, "digest", "left")  # fmt: skip
            if n_new:
                prepared = run.write_temp(prepared, "prepared")
            else:
                prepared = empty_table(run.spark, prepared.schema)
            to_score = distinct_chunks(prepared.where("digest is not null and probability is null"))
            work = workload(to_score) if n_new else NO_WORK
            counts = {
                "documents": notes.n,
                "documents_prepared": n_new,
                "chunks_to_score": work.distinct,
            }
            run.say(
                f"{notes.n:,} patients with notes, {n_new:,} with new ones; {work.distinct:,} "
                f"chunks to score, {work.tokens:,} tokens"
            )
            return _NewText(reused, prepared, to_score, work, counts)

    def chunks(self, text: _NewText) -> _Chunks:
        run, in_use = self.run, self.in_use
        with run.stage("new scores"):
            scores, backend = empty_table(run.spark, _SCORES), None
            if text.work.distinct:
                backend = check_scorer(
                    run, in_use.settings, text.prepared.where("digest is not null"), ["document"],
                    self.threshold(), in_use.c,
                ).backend  # fmt: skip
                new = score_chunks(text.to_score, text.work.tasks, in_use.settings)
                scores = run.write_temp(new, "scores")
            without_score = F.col("digest").isNotNull() & F.col("probability").isNull()
            counted = Observation("chunks")
            rows = night_chunks.night_chunks(
                text.earlier, text.prepared, scores, in_use.preparation.key, in_use.score_key
            ).observe(
                counted,
                F.count("digest").alias("chunks"),
                F.count(F.when(without_score, 1)).alias("without_score"),
            )
            chunks = run.write_table(rows, "chunks")
            if counted.get["without_score"]:
                raise RuntimeError(f"{counted.get['without_score']:,} chunks have no score")
            return _Chunks(chunks, counted.get["chunks"], backend)

    def publish(
        self, admissions: _Admissions, notes: _Notes, text: _NewText, chunks: _Chunks
    ) -> str:
        """Write the night's tables and pages, or compare them with the published ones. Return the
        summary lines."""
        run = self.run
        with run.stage("risk and worklist"):
            tables = self._tables(admissions, notes, chunks.table)
            if self.nights.own and not run.config.output.overwrite:
                restore_root_copies(run, self.nights, PAGES)
                return "\n".join(
                    [differences(self.nights.own, run), *self._lists(self.nights.own.path)]
                )
            outcomes = self._outcomes(tables["followed"], admissions.admissions_at)
        facts = self._facts(admissions, notes, text, chunks, tables, outcomes)
        page = worklist(
            run, tables, notes.notes, admissions.admissions_at, self.nights, self.in_use,
            self.alert, facts, texts_of(tables.get(TABLE)), admissions.shown,
        )  # fmt: skip
        pages = dict(zip(PAGES, (render_worklist(page), worklist_csv(page)), strict=True))
        if run.config.nightly.fhir:
            zone = required(run.config.data.time_zone, "data.time_zone")
            pages[FILE] = risk_assessments(page, zone, self.source == "fhir")
        lines = _summary_lines(facts)
        facts["verdict"] = lines[0]
        run.publish(facts, pages, root_copies=self.nights.later is None)
        return "\n".join([*lines, *self._lists(run.path)])

    def _lists(self, path: str) -> list[str]:
        """Return lines that say where the night's list is, and whose list is at the root.

        path: the run folder of the night.
        """
        at_root, later = f"{self.run.config.output_root}/{PAGES[0]}", self.nights.later
        own = f"worklist  {path}/{PAGES[0]}"
        if later:
            return [own, f"the list at the root stays that of {later.isoformat()}, a later night"]
        return [own, f"copy      {at_root}"]

    def _tables(
        self, admissions: _Admissions, notes: _Notes, chunks: DataFrame
    ) -> dict[str, DataFrame]:
        run, previous = self.run, self.nights.previous
        risk = run.write_table(
            night_risk.patient_risk(
                chunks, notes.documents, admissions.in_house,
                table_of_night(run.spark, previous, "patient_risk"), self.as_of, self.in_use.basis,
                self.in_use.c, self.alert, self.in_use.fits,
            ),
            "patient_risk",
        )  # fmt: skip
        unscored = night_risk.unscored(admissions.in_house, notes.documents, risk)
        followed = night_risk.followed(
            risk, table_of_night(run.spark, previous, "followed"), admissions.admissions_at,
            self.as_of, FOLLOWED_DAYS,
        )  # fmt: skip
        tables = {
            "patient_risk": risk,
            "unscored": run.write_table(unscored, "unscored"),
            "notes": run.write_table(notes.notes.drop("text"), "notes"),
            "followed": run.write_table(followed, "followed"),
        }
        if notes.ids is not None:
            tables[TABLE] = run.write_table(self._ids(notes.ids, tables), TABLE)
        return tables

    def _ids(self, ids: DataFrame, tables: dict[str, DataFrame]) -> DataFrame:
        """Return the texts of the ids in the night's tables and on the list before."""
        previous = self.nights.previous
        shown = list(tables.values())
        if previous:
            earlier = published_ids(previous)
            ids = ids if earlier is None else ids.unionByName(earlier)
            shown.append(previous.table("patient_risk"))
        return ids_in(ids, shown)

    def _outcomes(self, followed: DataFrame, admissions_at: DataFrame) -> dict[str, Any] | None:
        """Return the figures of earlier lists. The first night has none: all are in the house."""
        if not self.nights.previous:
            return None
        config = self.run.config
        labelled = label_admissions(admissions_at, config)
        outcomes = night_risk.outcomes(
            followed, labelled, self.as_of, self.in_use.basis, config.label.horizon_days
        )
        return outcome_figures(outcomes, config)

    def _facts(
        self,
        admissions: _Admissions,
        notes: _Notes,
        text: _NewText,
        chunks: _Chunks,
        tables: dict[str, DataFrame],
        outcomes: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Return the facts for the manifest and the page."""
        previous = self.nights.previous
        return {
            "as_of": self.as_of.isoformat(),
            "previous_night": previous.as_of.isoformat() if previous else None,
            "code": code_version(),
            "model": self.in_use.score_key,
            "basis": self.in_use.basis,
            "c": self.in_use.c,
            "backend": chunks.backend,
            "admissions": admissions.counts,
            "notes": notes.counts,
            "notes_read": notes.read,
            "old_sources": old_sources(self.as_of, admissions.facts.times, notes.last),
            "counts": {
                "in_house": admissions.facts.n,
                "uncertain": admissions.facts.uncertain,
                "scored": self.run.rows("patient_risk"),
                "alerts": tables["patient_risk"].where("alert").count(),
                "chunks": chunks.n,
                **text.counts,
            },
            "tokens_scored": text.work.tokens,
            "outcomes": outcomes,
            "doubts": self.in_use.model.doubts(),
        }


def _summary_lines(facts: dict[str, Any]) -> list[str]:
    counts = facts["counts"]
    lines = [
        f"night of {facts['as_of']}: {counts['in_house']:,} patients in the house, "
        f"{counts['scored']:,} scored, {counts['alerts']:,} alerts; {counts['chunks']:,} chunks, "
        f"{counts['chunks_to_score']:,} of them new"
    ]
    lines += [
        f"the last {name} is of {time}, more than a day before this night: has its table come?"
        for name, time in facts["old_sources"].items()
    ]
    lines += [f"warning: {doubt}" for doubt in facts["doubts"]]
    notes = facts["notes"]
    if notes["available_from_charttime"] or notes["available_from_chartdate"]:
        lines.append(
            f"notes without STORETIME: {notes['available_from_charttime']:,} of "
            f"{notes['usable']:,} count from CHARTTIME, {notes['available_from_chartdate']:,} from "
            "the end of CHARTDATE"
        )
    if counts["uncertain"]:
        lines.append(
            f"{counts['uncertain']:,} more admissions may be in the house: a time of each is not "
            "understood or lies before ADMITTIME"
        )
    return lines
