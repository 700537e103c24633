"""What a night would cost, without doing it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from pyspark.sql import DataFrame

from readmit_spark.config import Config
from readmit_spark.nightly.model_in_use import Made, check_numbers
from readmit_spark.nightly.published_nights import Nights
from readmit_spark.progress import Progress
from readmit_spark.scoring.score_chunks import score_chunks
from readmit_spark.scoring.workload import Workload

_SAMPLE = 8  # chunks that are scored to learn the rate where no night has told it


def plan_lines(
    todo: DataFrame,
    work: Workload,
    counts: Mapping[str, int],
    nights: Nights,
    made: Made,
    config: Config,
    progress: Progress,
) -> str:
    """The work of a night and the minutes it is expected to take, by backend.

    Rates are those of earlier nights that scored something; where there are none, a few chunks are
    scored now.
    """
    lines = [
        f"documents   {counts['documents']:,}, of which {counts['documents_prepared']:,} are new "
        "or changed",
        f"chunks      {work.distinct:,} to score",
        f"tokens      {work.tokens:,}",
    ]
    if not work.distinct:
        return "\n".join([*lines, "scoring     nothing to score"])
    rates = rates_of(nights)
    if rates:
        source = "earlier nights"
    else:
        rates = _measured(todo, made, config, progress)
        source = f"measured now on {min(_SAMPLE, work.distinct)} chunks"
    for backend, rate in sorted(rates.items()):
        minutes = work.tokens / rate / 60
        lines.append(
            f"scoring     {minutes:,.1f} min with {backend} ({rate:,.0f} tokens/s, {source})"
        )
    return "\n".join(lines)


def rates_of(nights: Nights) -> dict[str, float]:
    """Tokens a second by backend, model load and all: the median of the nights that scored."""
    found = defaultdict(list)
    for night in nights.used:
        if night.facts["backend"]:
            seconds = night.facts["seconds"]["new scores"]
            found[night.facts["backend"]].append(night.facts["tokens_scored"] / seconds)
    return {backend: median(rates) for backend, rates in found.items()}


def _measured(todo: DataFrame, made: Made, config: Config, progress: Progress) -> dict[str, float]:
    backend = check_numbers(todo, made, config, progress)  # loads the model
    few = todo.orderBy("digest").limit(_SAMPLE).localCheckpoint()
    tokens = sum(row["n_tokens"] for row in few.select("n_tokens").collect())
    slots = min(todo.sparkSession.sparkContext.defaultParallelism, few.count())
    start = time.monotonic()
    score_chunks(few, slots, made.settings, made.model).collect()
    return {backend: tokens / (time.monotonic() - start)}
