"""Explain: from an admission's score to its chunks, segments and words, and where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.insight.attribution import rollout
from readmit_spark.insight.explain_page import Attention, explained_of, render_explain
from readmit_spark.insight.explanations import ExplainSettings, explain, published
from readmit_spark.nightly import in_house
from readmit_spark.nightly.model_in_use import model_in_use
from readmit_spark.nightly.published_nights import find_nights
from readmit_spark.notes.documents_table import window_notes
from readmit_spark.notes.prepare_job import all_admissions
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.check_scored import check_scored
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import ScorerSettings, check_gpus
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.storage.checked_notes import CheckedNotes, read_checked_notes
from readmit_spark.storage.files import Files
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.run import Run

STAGES = 3
PAGE, ARRAYS = "explain.html", "attention.npz"
_SAME = 1e-4  # what two ways to compute an fp32 probability may differ by


@dataclass(frozen=True)
class ExplainRequest:
    """What to explain. text: this text, as if it were a note. admission: this HADM_ID, with its
    attention maps. Neither: the highest scores. as_of: of this night; None is the last one."""

    text: str | None = None
    admission: int | None = None
    as_of: datetime | None = None

    def check(self, source: str) -> None:
        """UserError where a night is given for something that belongs to none. source:
        `explain.source`."""
        if self.as_of is None:
            return
        if self.text is not None:
            raise UserError("--as-of: a text belongs to no night; leave out --as-of or --text")
        if source != "nightly":
            raise UserError(
                f"--as-of: explain.source={source} has no nights; leave it out, or set "
                "explain.source=nightly"
            )


@dataclass(frozen=True)
class _Selection:
    """admissions: subject_id, hadm_id, score (null for a text), notes. c: of the vote. label: what
    was selected, in words. source: the notes that were read; None for a text."""

    admissions: DataFrame
    settings: ScorerSettings
    c: float
    label: str
    source: CheckedNotes | None = None


def explain_scores(run: Run, model: Model, request: ExplainRequest) -> str:
    """Publish the page and the table `explanations`; return the lines that a person reads at the
    end. Call `request.check` first."""
    config = run.config
    check_gpus(run.spark)
    tokenizer = model.tokenizer(config.model.max_tokens)
    with run.stage("notes"):
        selection = _select(run, model, request)
        admissions = run.write_temp(selection.admissions, "admissions")
        if selection.source:
            selection.source.check()
        if not admissions.count():
            who = "nothing" if request.admission is None else f"no admission {request.admission}"
            raise UserError(f"{who} to explain among {selection.label}: it has no score there")
    with run.stage("explanations"):
        settings = ExplainSettings(
            config.chunk, tokenizer, selection.c, config.explain.steps, config.explain.deletion,
            config.explain.include_text, config.split.seed,
        )  # fmt: skip
        explained = run.write_temp(explain(admissions, settings, selection.settings), "explained")
        _check_scores(explained, admissions, config)
        run.write_table(published(explained), "explanations")
    with run.stage("page"):
        rows = [row.asDict(recursive=True) for row in explained.orderBy(F.desc("score")).collect()]
        if not rows:
            raise UserError("nothing to explain: no word is left after cleaning")
        files = _files(rows, model, request, selection, tokenizer, config)
        facts = {"model": model.name, "of": selection.label, "explained": len(rows)}
        run.publish(facts, files)
        if ARRAYS not in files:  # those of an earlier run belong to another page
            Files(run.spark, config.output_root).delete(ARRAYS)
    return _summary_lines(rows, selection.label, config.output_root, files)


def _files(
    rows: list[dict[str, Any]],
    model: Model,
    request: ExplainRequest,
    selection: _Selection,
    tokenizer: ChunkTokenizer,
    config: Config,
) -> dict[str, str | bytes]:
    """The page, and the attention maps where one text or admission was requested."""
    attention = None
    arrays: dict[str, str | bytes] = {}
    if request.text is not None or request.admission is not None:
        attention, arrays[ARRAYS] = _attention(rows[0], model, tokenizer, config)
    page = render_explain(
        [explained_of(row) for row in rows], model.name, selection.label, selection.c, attention
    )
    return {**arrays, PAGE: page}


def _select(run: Run, model: Model, request: ExplainRequest) -> _Selection:
    if request.text is not None:
        rows = [(None, None, None, [(None, "text", request.text)])]
        kind = (
            "subject_id bigint, hadm_id bigint, score double, "
            "notes array<struct<row_id: bigint, category: string, text: string>>"
        )
        frame = run.spark.createDataFrame(rows, kind)
        return _Selection(
            frame, scorer_settings(run, model), model.vote_c(run.config), "the text given"
        )
    if run.config.explain.source == "score":
        return _select_of_score(run, model, request)
    return _select_of_night(run, model, request)


def _select_of_score(run: Run, model: Model, request: ExplainRequest) -> _Selection:
    config = run.config
    scored = Scored.read(run.spark, config.output_root)
    prepared = Prepared.read(run.spark, config.output_root)
    check_scored(config, model, prepared, scored)
    windows = scored.config.score.windows or prepared.windows
    window = config.explain.window or windows[-1]
    if window not in windows:
        raise UserError(f"explain.window: {window} was not scored (there are {', '.join(windows)})")
    scores = scored.table("patient_scores").where(F.col("window") == window)
    cohort = prepared.table("cohort").select("hadm_id", "admittime")
    chosen = _chosen(scores.select("subject_id", "hadm_id", "score"), config, request)
    source = read_checked_notes(run.spark, config)
    texts = window_notes(source.rows, chosen.join(cohort, "hadm_id"), window, config)
    joined = texts.join(chosen.select("hadm_id", "score"), "hadm_id")
    label = f"the scores of {window}, {scored.finished}"
    return _Selection(joined, scorer_settings(run, model), scored.c, label, source)


def _select_of_night(run: Run, model: Model, request: ExplainRequest) -> _Selection:
    config = run.config
    nights = find_nights(run, request.as_of or datetime.max, 1).used
    if not nights:
        raise UserError(
            f"output.root: {config.output_root} holds no complete night; run jobs/nightly.py "
            "first, or set explain.source=score"
        )
    night = nights[0]
    if request.as_of not in (None, night.as_of):
        raise UserError(
            f"--as-of {request.as_of}: there is no such night; the one before is of {night.as_of}"
        )
    in_use = model_in_use(run, model)
    if night.basis != in_use.basis:
        raise UserError(
            f"the night of {night.as_of} was made by {night.model} (or with other chunks, window "
            "or vote); explain it with its own configuration"
        )
    risk = night.table("patient_risk").select("subject_id", "hadm_id", "score")
    chosen = _chosen(risk, config, request)
    distinct, _ = all_admissions(run.spark, config)
    house = in_house.in_house(in_house.admissions_at(distinct, night.as_of), night.as_of)
    admissions = house.join(chosen.select("hadm_id"), "hadm_id", "left_semi")
    source = read_checked_notes(run.spark, config)
    notes = in_house.night_notes(
        source.rows,
        admissions,
        in_house.night_rule(config, night.as_of),
        Observation("notes"),
    )
    documents = in_house.document_notes(notes, in_house.document_digests(notes))
    joined = documents.drop("document").join(chosen, "hadm_id")
    return _Selection(joined, in_use.settings, in_use.c, f"the night of {night.as_of}", source)


def _chosen(scores: DataFrame, config: Config, request: ExplainRequest) -> DataFrame:
    if request.admission is None:
        return scores.orderBy(F.desc("score"), "hadm_id").limit(config.explain.top)
    return scores.where(F.col("hadm_id") == request.admission)


def _check_scores(found: DataFrame, admissions: DataFrame, config: Config) -> None:
    """UserError where the explained scores differ from the published ones."""
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
    row: dict[str, Any], model: Model, tokenizer: ChunkTokenizer, config: Config
) -> tuple[Attention, bytes]:
    """The maps of the driving chunk, for the page and as a file of arrays: maps [layers, heads,
    tokens, tokens], rollout [tokens, tokens], and tokens [tokens] where text is asked for."""
    import io

    from readmit_spark.insight.explainer import Explainer

    ids = np.array(row["input_ids"], dtype=np.int32)
    maps = Explainer(model.folder, "cpu").attention(ids)
    through = rollout(maps)
    shown = tokenizer.tokens(ids.tolist()) if config.explain.include_text else None
    raw = io.BytesIO()
    arrays = {"maps": maps, "rollout": through.astype(np.float32)}
    np.savez_compressed(raw, **arrays, **({"tokens": np.array(shown)} if shown else {}))
    return Attention(maps, through, shown), raw.getvalue()


def _summary_lines(rows: list[dict[str, Any]], label: str, root: str, files: Iterable[str]) -> str:
    tests = [row["deletion"] for row in rows if row["deletion"]]
    lines = [
        f"explained {len(rows):,} of {label}; complete (to 1 %): "
        f"{sum(row['complete'] for row in rows):,}"
    ]
    if tests:
        strongest, random = (np.mean([t[key] for t in tests]) for key in ("strongest", "random"))
        lines.append(
            f"without their strongest words logits fall by {strongest:.3f} on average, without as "
            f"many random ones by {random:.3f}"
        )
    return "\n".join([*lines, *(f"written   {root}/{name}" for name in files)])
