"""Compare a 16-bit precision with fp32 on whole patients, before scoring starts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.evaluation.vote import vote_score
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    build_scorer,
    cached_scorer,
    token_arrays,
)

_OWNER = "owner"  # a document: the chunks that vote together


@dataclass(frozen=True)
class PrecisionProbe:
    """Measurements of one executor before scoring starts.

    load_seconds: to build the model and score the sample once. max_shift: the largest difference
    between a probability in the configured precision and in fp32, of n chunks. flips: patients
    whose score changes sides of the threshold, of `patients`. n, patients: 0 for fp32. machine: the
    processor and the version of torch, on which the last bits depend.
    """

    backend: str
    load_seconds: float
    max_shift: float
    flips: int
    n: int
    machine: str = ""
    patients: int = 0


def probe(
    chunks: DataFrame,
    by: Sequence[str],
    settings: ScorerSettings,
    sample: int,
    threshold: float,
    c: float,
) -> PrecisionProbe:
    """Build the scorer on an executor, and compare a 16-bit precision with fp32 on a sample.

    chunks: digest, input_ids, and the columns `by`, which name the document of a patient. The
    sample is that of `whole_documents`. threshold: of patient scores. c: of the vote.
    """

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ids: list[NDArray[np.int32]] = []
        owners: list[str] = []
        for batch in batches:
            ids += token_arrays(batch["input_ids"])
            owners += batch[_OWNER].to_pylist()
        yield pa.RecordBatch.from_pylist([asdict(_measure(settings, ids, owners, threshold, c))])

    exact = settings.precision == "fp32"
    few = chunks.orderBy("digest").limit(1).withColumn(_OWNER, F.lit(""))
    first = (few if exact else whole_documents(chunks, by, sample)).coalesce(1)
    schema = (
        "backend string, load_seconds double, max_shift double, flips long, n long, "
        "machine string, patients long"
    )
    # collect() reads to the end: otherwise Spark would stop the worker, and lose its model.
    (row,) = first.select("input_ids", _OWNER).mapInArrow(apply, schema).collect()
    return PrecisionProbe(**row.asDict())


def whole_documents(chunks: DataFrame, by: Sequence[str], least: int) -> DataFrame:
    """Select all chunks of some documents, and their `owner`: as many as have `least` chunks.

    They are the documents with the lowest hash of their name, so the same in every run.
    """
    named = chunks.withColumn(_OWNER, F.concat_ws(" ", *by))
    sizes = named.groupBy(_OWNER).count().orderBy(F.md5(_OWNER)).limit(least).collect()
    chosen, n = [], 0
    for row in sizes:
        if n >= least:
            break
        chosen.append(row[_OWNER])
        n += row["count"]
    return named.where(F.col(_OWNER).isin(chosen))


def _measure(
    settings: ScorerSettings,
    ids: list[NDArray[np.int32]],
    owners: list[str],
    threshold: float,
    c: float,
) -> PrecisionProbe:
    start = time.monotonic()
    scorer = cached_scorer(settings, build_scorer)
    # Part of the load time: with the first chunks a GPU compiles and captures graphs.
    (probabilities,) = scorer.stream([ids])
    seconds = time.monotonic() - start
    if settings.precision == "fp32":
        return PrecisionProbe(scorer.backend, seconds, 0.0, 0, 0, _machine())
    from readmit_spark.scoring.scorer import compare_precisions

    (exact,) = build_scorer(replace(settings, precision="fp32")).stream([ids])
    check = compare_precisions(exact, probabilities, threshold)
    patients = compare_precisions(
        _votes(exact, owners, c), _votes(probabilities, owners, c), threshold
    )
    return PrecisionProbe(
        scorer.backend, seconds, check.max_shift, patients.flips, check.n, _machine(), patients.n
    )


def _votes(
    probabilities: NDArray[np.float64], owners: Sequence[str], c: float
) -> NDArray[np.float64]:
    """Return the score of each document, in the order of the first chunks."""
    of_owner: dict[str, list[float]] = defaultdict(list)
    for owner, probability in zip(owners, probabilities.tolist(), strict=True):
        of_owner[owner].append(probability)
    return np.array([vote_score(chunks, c) for chunks in of_owner.values()])


def _machine() -> str:
    import torch

    on_gpu = torch.cuda.is_available()
    cpu = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {torch.cuda.get_device_name() if on_gpu else cpu}"
