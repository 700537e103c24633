"""Estimate the work of a night without doing it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from pyspark.sql import DataFrame

from readmit_spark.nightly.model_in_use import ModelInUse
from readmit_spark.nightly.published_nights import Nights
from readmit_spark.scoring.score_chunks import score_chunks
from readmit_spark.scoring.scorer_settings import check_scorer
from readmit_spark.scoring.workload import Workload
from readmit_spark.storage.run import Run

_SAMPLE = 8  # chunks to score if no earlier night gives a rate


def estimate_lines(
    run: Run,
    prepared: DataFrame,
    to_score: DataFrame,
    work: Workload,
    counts: Mapping[str, int],
    nights: Nights,
    in_use: ModelInUse,
    threshold: float,
) -> str:
    """Return lines with the work of the night and the expected minutes by backend.

    Rates come from earlier nights; if these scored nothing, a few chunks of `to_score` are scored
    now. prepared: the chunks of new documents. threshold: scores at or above it raise an alert.
    """
    lines = [
        f"documents   {counts['documents']:,}, of which {counts['documents_prepared']:,} are new "
        "or changed",
        f"chunks      {work.distinct:,} to score",
        f"tokens      {work.tokens:,}",
    ]
    if not work.distinct:
        return "\n".join([*lines, "scoring     nothing to score"])
    rates = earlier_rates(nights)
    source = "earlier nights"
    if not rates:
        rates = _measured_rate(run, prepared, to_score, in_use, threshold)
        source = f"measured now on {min(_SAMPLE, work.distinct)} chunks"
    for backend, rate in sorted(rates.items()):
        minutes = work.tokens / rate / 60
        lines.append(
            f"scoring     {minutes:,.1f} min with {backend} ({rate:,.0f} tokens/s, {source})"
        )
    return "\n".join(lines)


def earlier_rates(nights: Nights) -> dict[str, float]:
    """Return backend -> tokens per second: the median of the nights that scored something, with
    the time to load the model included."""
    rates = defaultdict(list)
    for night in nights.used:
        if night.backend:
            rates[night.backend].append(night.tokens_scored / night.seconds["new scores"])
    return {backend: median(values) for backend, values in rates.items()}


def _measured_rate(
    run: Run, prepared: DataFrame, to_score: DataFrame, in_use: ModelInUse, threshold: float
) -> dict[str, float]:
    # Loads the model, so that the timing does not include it.
    documents = prepared.where("digest is not null")
    backend = check_scorer(
        run, in_use.settings, documents, ["document"], threshold, in_use.c
    ).backend
    sample = to_score.orderBy("digest").limit(_SAMPLE).localCheckpoint()
    tokens = sum(row["n_tokens"] for row in sample.select("n_tokens").collect())
    slots = min(run.spark.sparkContext.defaultParallelism, sample.count())
    start = time.monotonic()
    score_chunks(sample, slots, in_use.settings).collect()
    return {backend: tokens / (time.monotonic() - start)}
