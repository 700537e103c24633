"""Explain: from an admission's score to its chunks, segments and words, and where they stand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.insight.attribution import rollout
from readmit_spark.insight.explain_page import Attention, explained_of, render_explain
from readmit_spark.insight.explanations import Ask, explain, published
from readmit_spark.nightly import in_house as night
from readmit_spark.nightly.model_in_use import made_with
from readmit_spark.nightly.published_nights import find_nights
from readmit_spark.notes.documents_table import window_notes
from readmit_spark.notes.prepare_job import all_admissions
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_scores import check_scored
from readmit_spark.scoring.classifier import vote_c
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import Located
from readmit_spark.scoring.score_chunks import ScorerSettings, check_gpus
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.storage.checked_notes import CheckedNotes, read_checked_notes
from readmit_spark.storage.files import Files
from readmit_spark.storage.publish import Publication, manifest
from readmit_spark.storage.session import tasks_done

STAGES = 3
PAGE, ARRAYS = "explain.html", "attention.npz"
_SAME = 1e-4  # what two ways to compute an fp32 probability may differ by


@dataclass(frozen=True)
class Wanted:
    """text: this text, as if it were a note. admission: this HADM_ID, with its attention maps.
    Neither: the highest scores. as_of: of which night; None is the last."""

    text: str | None = None
    admission: int | None = None
    as_of: datetime | None = None

    def check(self, source: str) -> None:
        """UserError where a night is asked for of what is of none. source: `explain.source`."""
        if self.as_of is None:
            return
        if self.text is not None:
            raise UserError("--as-of: a text is of no night; leave out --as-of or --text")
        if source != "nightly":
            raise UserError(
                f"--as-of: explain.source={source} has no nights; leave it out, or set "
                "explain.source=nightly"
            )


@dataclass(frozen=True)
class _Asked:
    """admissions: subject_id, hadm_id, score (null of a text), notes. where: in words. source: the
    notes that they are made of; None of a text."""

    admissions: DataFrame
    c: float
    settings: ScorerSettings
    where: str
    source: CheckedNotes | None = None


def explain_scores(
    spark: SparkSession,
    config: Config,
    located: Located,
    wanted: Wanted,
    progress: Progress,
    now: Callable[[], datetime],
) -> str:
    """Publishes the page and the table `explanations` under output.root, and gives the lines that a
    person reads at the end."""
    wanted.check(config.explain.source)
    check_gpus(spark)
    tokenizer = load_tokenizer(located.folder, config.model.max_tokens)
    publication = Publication(spark, config.output_root, "explain", True, now)
    try:
        with progress.stage("notes", tasks_done(spark)):
            asked = _asked(spark, config, located, wanted, progress)
            admissions = publication.write_work(asked.admissions, "admissions")
            if asked.source:
                asked.source.check()
            if not admissions.count():
                who = "nothing" if wanted.admission is None else f"no admission {wanted.admission}"
                raise UserError(f"{who} to explain among {asked.where}: it has no score there")
        with progress.stage("explanations", tasks_done(spark)):
            ask = Ask(
                config.chunk, tokenizer, asked.c, config.explain.steps, config.explain.deletion,
                config.explain.include_text, config.split.seed,
            )  # fmt: skip
            found = publication.write_work(explain(admissions, ask, asked.settings), "explained")
            _check_scores(found, admissions, config)
            publication.write_table(published(found), "explanations")
        with progress.stage("page"):
            rows = [row.asDict(recursive=True) for row in found.orderBy(F.desc("score")).collect()]
            if not rows:
                raise UserError("nothing to explain: no word is left after cleaning")
            attention = None
            files: dict[str, bytes] = {}
            if wanted.text is not None or wanted.admission is not None:
                attention, files[ARRAYS] = _attention(rows[0], located, tokenizer, config)
            page = render_explain(
                [explained_of(row) for row in rows], located.name, asked.where, asked.c, attention
            )
            files[PAGE] = page.encode()
            with tempfile.TemporaryDirectory() as folder:
                local = [Path(folder) / name for name in files]
                for file in local:
                    file.write_bytes(files[file.name])
                    publication.put(file, file.name)
                facts = {
                    "finished": now().isoformat(timespec="seconds"),
                    "config": to_dict(config),
                    "model": located.name,
                    "of": asked.where,
                    "explained": len(rows),
                    "seconds": progress.seconds,
                }
                publication.publish(facts, front=local)
            if ARRAYS not in files:  # those of an earlier run are of another page
                Files(spark, config.output_root).delete(ARRAYS)
    finally:
        publication.abandon()  # what has not been published
    return _told(rows, asked.where, config.output_root, files)


def _asked(
    spark: SparkSession, config: Config, located: Located, wanted: Wanted, progress: Progress
) -> _Asked:
    if wanted.text is not None:
        rows = [(None, None, None, [(None, "text", wanted.text)])]
        kind = (
            "subject_id bigint, hadm_id bigint, score double, "
            "notes array<struct<row_id: bigint, category: string, text: string>>"
        )
        c = vote_c(config, located.folder)
        frame = spark.createDataFrame(rows, kind)
        return _Asked(frame, c, scorer_settings(spark, config, located), "the text given")
    if config.explain.source == "score":
        return _of_score(spark, config, located, wanted)
    return _of_night(spark, config, located, wanted, progress)


def _of_score(spark: SparkSession, config: Config, located: Located, wanted: Wanted) -> _Asked:
    scored = manifest(spark, config.output_root, "score")
    prepared = manifest(spark, config.output_root, "prepare")
    check_scored(config, located, prepared, scored)
    made = scored["config"]["score"]["windows"] or prepared["config"]["windows"]
    window = config.explain.window or made[-1]
    if window not in made:
        raise UserError(f"explain.window: {window} was not scored (there are {', '.join(made)})")
    scores = spark.read.parquet(f"{scored['path']}/patient_scores").where(F.col("window") == window)
    cohort = spark.read.parquet(f"{prepared['path']}/cohort").select("hadm_id", "admittime")
    chosen = _chosen(scores.select("subject_id", "hadm_id", "score"), config, wanted)
    whole = read_checked_notes(spark, config)
    texts = window_notes(whole.rows, chosen.join(cohort, "hadm_id"), window, config)
    joined = texts.join(chosen.select("hadm_id", "score"), "hadm_id")
    c = float(scored["config"]["vote"]["c"])
    where = f"the scores of {window}, {scored['finished']}"
    return _Asked(joined, c, scorer_settings(spark, config, located), where, whole)


def _of_night(
    spark: SparkSession, config: Config, located: Located, wanted: Wanted, progress: Progress
) -> _Asked:
    until = wanted.as_of or datetime.max
    nights = find_nights(spark, config.output_root, until, 1, progress.say).used
    if not nights:
        raise UserError(
            f"output.root: {config.output_root} holds no complete night; run jobs/nightly.py "
            "first, or set explain.source=score"
        )
    last = nights[0]
    if wanted.as_of not in (None, last.as_of):
        raise UserError(f"--as-of {wanted.as_of}: there is no such night; the one before is of "
                        f"{last.as_of}")  # fmt: skip
    made = made_with(spark, config, located)
    if last.facts["basis"] != made.basis:
        raise UserError(
            f"the night of {last.as_of} was made by {last.facts['model']} (or with other chunks, "
            "window or vote); explain it with its own configuration"
        )
    risk = last.table(spark, "patient_risk").select("subject_id", "hadm_id", "score")
    chosen = _chosen(risk, config, wanted)
    distinct, _ = all_admissions(spark, config)
    house = night.in_house(night.known_by(distinct, last.as_of), last.as_of)
    mine = house.join(chosen.select("hadm_id"), "hadm_id", "left_semi")
    whole = read_checked_notes(spark, config)
    notes = night.night_notes(
        whole.rows, mine, last.as_of, config.nightly.window, Observation("notes")
    )
    documents = night.document_notes(notes, night.document_digests(notes))
    joined = documents.drop("document").join(chosen, "hadm_id")
    return _Asked(joined, made.c, made.settings, f"the night of {last.as_of}", whole)


def _chosen(scores: DataFrame, config: Config, wanted: Wanted) -> DataFrame:
    if wanted.admission is None:
        return scores.orderBy(F.desc("score"), "hadm_id").limit(config.explain.top)
    return scores.where(F.col("hadm_id") == wanted.admission)


def _check_scores(found: DataFrame, admissions: DataFrame, config: Config) -> None:
    """UserError where the explained scores are not the published ones."""
    allowed = _SAME if config.score.precision == "fp32" else config.score.max_probability_shift
    then = admissions.where("score is not null").select("hadm_id", F.col("score").alias("then"))
    moved = F.coalesce(F.abs(F.col("score") - F.col("then")) > allowed, F.lit(True))
    others = [r.hadm_id for r in then.join(found, "hadm_id", "left").where(moved).collect()]
    if others:
        shown = ", ".join(map(str, sorted(others)[:5]))
        raise UserError(
            f"the scores of {len(others):,} admissions ({shown}) are not those that were "
            "published: data.notes has changed since, or chunk.* or model.max_tokens differ; run "
            f"jobs/{config.explain.source}.py again"
        )


def _attention(
    row: dict[str, Any], located: Located, tokenizer: ChunkTokenizer, config: Config
) -> tuple[Attention, bytes]:
    """The maps of the driving chunk, for the page and as a file of arrays: maps [layers, heads,
    tokens, tokens], rollout [tokens, tokens], and tokens [tokens] where text is asked for."""
    import io

    from readmit_spark.insight.explainer import Explainer

    ids = np.array(row["input_ids"], dtype=np.int32)
    maps = Explainer(located.folder, "cpu").attention(ids)
    through = rollout(maps)
    shown = tokenizer.tokens(ids.tolist()) if config.explain.include_text else None
    raw = io.BytesIO()
    arrays = {"maps": maps, "rollout": through.astype(np.float32)}
    np.savez_compressed(raw, **arrays, **({"tokens": np.array(shown)} if shown else {}))
    return Attention(maps, through, shown), raw.getvalue()


def _told(rows: list[dict[str, Any]], where: str, root: str, files: dict[str, bytes]) -> str:
    tests = [row["deletion"] for row in rows if row["deletion"]]
    lines = [
        f"explained {len(rows):,} of {where}; complete (to 1 %): "
        f"{sum(row['complete'] for row in rows):,}"
    ]
    if tests:
        strongest, random = (np.mean([t[key] for t in tests]) for key in ("strongest", "random"))
        lines.append(
            f"without their strongest words logits fall by {strongest:.3f} on average, without as "
            f"many random ones by {random:.3f}"
        )
    return "\n".join([*lines, *(f"written   {root}/{name}" for name in files)])
