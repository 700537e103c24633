"""Explain: attribute an admission's score to its chunks, segments and words."""

from __future__ import annotations

import re
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
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.documents_table import window_notes
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.check_scored import check_scored
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import ScorerSettings
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.storage.checked_notes import CheckedNotes, read_checked_notes
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.run import Run
from readmit_spark.storage.text_ids import published_ids, shown, texts_of

STAGES = 3
_PRINTED = 10  # words of a text
_FP32_TOLERANCE = 1e-4  # of a probability that is computed in two ways


@dataclass(frozen=True)
class ExplainRequest:
    """What to explain.

    text: this text, as if it were a note. admission: this HADM_ID, with attention maps. With
    neither, the admissions with the highest scores. as_of: the night; None is the last one.
    """

    text: str | None = None
    admission: int | None = None
    as_of: datetime | None = None

    def shows_text(self, config: Config) -> bool:
        """Whether words are shown: those of a text that the user typed always are."""
        return config.explain.include_text or self.text is not None

    def check(self, source: str) -> None:
        """UserError if a night is given together with a text or with scores that are not a
        night's. source: `explain.source`."""
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
    """The admissions to explain.

    admissions: subject_id, hadm_id, score (null for a text), notes. c: of the vote. label: the
    selection in words. source: the notes that were read; None for a text. ids: the texts of ids, if
    the scores were made with data.ids=text.
    """

    admissions: DataFrame
    c: float
    label: str
    source: CheckedNotes | None = None
    ids: DataFrame | None = None


def explain_scores(run: Run, model: Model, request: ExplainRequest) -> str:
    """Publish the page and the table `explanations`; return the summary lines. Call
    `request.check` first."""
    config = run.config
    scorer = scorer_settings(run, model, config.model.max_tokens, config.text_rules)
    tokenizer = model.tokenizer(config.model.max_tokens)
    with run.stage("notes"):
        selection = _select(run, model, request, scorer)
        admissions = run.write_temp(selection.admissions, "admissions")
        if selection.source:
            selection.source.check(run.say)
        if not admissions.count():
            subject = (
                "nothing" if request.admission is None else f"no admission {request.admission}"
            )
            raise UserError(f"{subject} to explain among {selection.label}: it has no score there")
    with run.stage("explanations"):
        settings = ExplainSettings(
            Preparation.of(config, tokenizer), selection.c, config.explain.steps,
            config.explain.deletion, request.shows_text(config), config.split.seed,
        )  # fmt: skip
        explained = run.write_temp(explain(admissions, settings, scorer), "explained")
        _check_scores(explained, admissions, config)
        run.write_table(published(explained), "explanations")
    with run.stage("page"):
        rows = [row.asDict(recursive=True) for row in explained.orderBy(F.desc("score")).collect()]
        if not rows:
            raise UserError("nothing to explain: no word is left after cleaning")
        files = _files(rows, model, request, selection, tokenizer, config)
        lines = _summary_lines(rows, selection.label)
        facts = {"model": model.name, "of": selection.label, "explained": len(rows)}
        run.publish({**facts, "verdict": lines[0]}, files)
    if request.text is not None:
        lines += _strongest_words(rows[0])
    return "\n".join([*lines, *(f"written   {config.output_root}/{name}" for name in files)])


def _files(
    rows: list[dict[str, Any]],
    model: Model,
    request: ExplainRequest,
    selection: _Selection,
    tokenizer: ChunkTokenizer,
    config: Config,
) -> dict[str, str | bytes]:
    """Return the page, and the attention maps if one text or admission was requested."""
    explained = [explained_of(row) for row in _with_texts(rows, selection.ids)]
    subject, attention = "", None
    files: dict[str, str | bytes] = {}
    if request.text is not None or request.admission is not None:
        # A page of its own, so that one explanation does not replace that of the list.
        subject = "_text" if request.text is not None else f"_{_in_name(explained[0].hadm_id)}"
        attention, files[f"attention{subject}.npz"] = _attention(
            rows[0], model, tokenizer, request.shows_text(config)
        )
    page = render_explain(explained, model.name, selection.label, selection.c, attention)
    return {**files, f"explain{subject}.html": page}


def _in_name(admission: object) -> str:
    """Return an admission's number, or the hospital's own id, as a part of a file's name."""
    return re.sub(r"[^\w-]", "_", str(admission))


def _with_texts(rows: list[dict[str, Any]], ids: DataFrame | None) -> list[dict[str, Any]]:
    """Return the rows with the hospital's own ids."""
    placed = [place for row in rows for word in row["words"] for place in word["places"]]
    names = ("subject_id", "hadm_id")
    texts = texts_of(
        ids, {*(row[n] for row in rows for n in names), *(p["row_id"] for p in placed)}
    )
    for place in placed:
        place["row_id"] = shown(place["row_id"], texts)
    return [{**row, **{name: shown(row[name], texts) for name in names}} for row in rows]


def _select(run: Run, model: Model, request: ExplainRequest, scorer: ScorerSettings) -> _Selection:
    if request.text is not None:
        rows = [(None, None, None, [(None, "text", request.text)])]
        schema = (
            "subject_id bigint, hadm_id bigint, score double, "
            "notes array<struct<row_id: bigint, category: string, text: string>>"
        )
        frame = run.spark.createDataFrame(rows, schema)
        return _Selection(frame, model.vote_c(run.config), "the text given")
    if run.config.explain.source == "score":
        return _select_scored(run, model, request)
    return _select_from_night(run, model, request, scorer)


def _select_scored(run: Run, model: Model, request: ExplainRequest) -> _Selection:
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
    chosen = _choose(scores.select("subject_id", "hadm_id", "score"), config, request)
    source = read_checked_notes(run.spark, config)
    texts = window_notes(source.rows, chosen.join(cohort, "hadm_id"), window, config)
    joined = texts.join(chosen.select("hadm_id", "score"), "hadm_id")
    label = f"the scores of {window}, {scored.finished}"
    return _Selection(joined, scored.c, label, source, published_ids(prepared))


def _select_from_night(
    run: Run, model: Model, request: ExplainRequest, scorer: ScorerSettings
) -> _Selection:
    config = run.config
    nights = find_nights(run, request.as_of or datetime.max, 1).used
    if not nights:
        raise UserError(
            f"output.root: {config.output_root} has no complete night; run jobs/nightly.py "
            "first, or set explain.source=score"
        )
    night = nights[0]
    if request.as_of not in (None, night.as_of):
        raise UserError(
            f"--as-of {request.as_of}: this night was not published; the one before it is "
            f"{night.as_of}"
        )
    in_use = model_in_use(config, model, scorer)
    if night.basis != in_use.basis:
        raise UserError(
            f"the night of {night.as_of} was made by {night.model} (or with other chunks, window "
            "or vote); explain it with its own configuration"
        )
    risk = night.table("patient_risk").select("subject_id", "hadm_id", "score")
    chosen = _choose(risk, config, request)
    distinct, _ = all_admissions(run)
    house = in_house.in_house(in_house.admissions_at(distinct, night.as_of), night.as_of, config)
    admissions = house.join(chosen.select("hadm_id"), "hadm_id", "left_semi")
    source = read_checked_notes(run.spark, config)
    notes = in_house.night_notes(
        source.rows,
        admissions,
        in_house.night_rule(config, night.as_of),
        Observation("notes"),
        Observation("repeated"),
    )
    documents = in_house.document_notes(notes, in_house.document_digests(notes))
    joined = documents.drop("document").join(chosen, "hadm_id")
    label = f"the night of {night.as_of}"
    return _Selection(joined, in_use.c, label, source, published_ids(night))


def _choose(scores: DataFrame, config: Config, request: ExplainRequest) -> DataFrame:
    if request.admission is None:
        return scores.orderBy(F.desc("score"), "hadm_id").limit(config.explain.top)
    return scores.where(F.col("hadm_id") == request.admission)


def _check_scores(explained: DataFrame, admissions: DataFrame, config: Config) -> None:
    """UserError if the explained scores differ from the published ones."""
    allowed = (
        _FP32_TOLERANCE if config.score.precision == "fp32" else config.score.max_probability_shift
    )
    published_scores = admissions.where("score is not null").select(
        "hadm_id", F.col("score").alias("published_score")
    )
    # An admission without an explanation has a null score; it counts as different.
    differs = F.coalesce(F.abs(F.col("score") - F.col("published_score")) > allowed, F.lit(True))
    rows = published_scores.join(explained, "hadm_id", "left").where(differs).collect()
    different = [row.hadm_id for row in rows]
    if different:
        shown = ", ".join(map(str, sorted(different)[:5]))
        raise UserError(
            f"the scores of {len(different):,} admissions ({shown}) are not those that were "
            "published: data.notes has changed since, or chunk.* or model.max_tokens differ; run "
            f"jobs/{config.explain.source}.py again"
        )


def _attention(
    row: dict[str, Any], model: Model, tokenizer: ChunkTokenizer, shows_text: bool
) -> tuple[Attention, bytes]:
    """Return the attention maps of the driving chunk, for the page and as an npz file.

    The file has maps [layers, heads, tokens, tokens], rollout [tokens, tokens], and tokens [tokens]
    if `shows_text`.
    """
    import io

    from readmit_spark.insight.explainer import Explainer

    ids = np.array(row["input_ids"], dtype=np.int32)
    maps = Explainer(model.folder, "cpu").attention(ids)
    token_flow = rollout(maps)
    shown = tokenizer.tokens(ids.tolist()) if shows_text else None
    file = io.BytesIO()
    arrays = {"maps": maps, "rollout": token_flow.astype(np.float32)}
    np.savez_compressed(file, **arrays, **({"tokens": np.array(shown)} if shown else {}))
    return Attention(maps, token_flow, shown), file.getvalue()


def _summary_lines(rows: list[dict[str, Any]], label: str) -> list[str]:
    tests = [row["deletion"] for row in rows if row["deletion"]]
    lines = [
        f"explained {len(rows):,} of {label}; complete (to 1 %): "
        f"{sum(row['complete'] for row in rows):,}"
    ]
    if tests:
        strongest, random = (np.mean([t[key] for t in tests]) for key in ("strongest", "random"))
        lines.append(
            f"removing the strongest words lowers the logit by {strongest:.3f} on average, as many "
            f"random words by {random:.3f}"
        )
    return lines


def _strongest_words(row: dict[str, Any]) -> list[str]:
    """Return a line for each of the words that raise or lower the logit most."""
    words = [word for word in row["words"] if word["attribution"] is not None]
    strongest = sorted(words, key=lambda word: -abs(word["attribution"]))[:_PRINTED]
    return [f"  {word['attribution']:+.3f}  {word['text']}" for word in strongest]
