"""The summary that prepare prints: who is in the cohort, who is not, and what is cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyspark.sql import functions as F

from readmit_spark.early_checks import FEWEST_READMITTED
from readmit_spark.pages.text_table import aligned
from readmit_spark.storage.manifests import Prepared

_SPLITS = ("train", "validation", "test")
_CUT = 0.01  # share of the tokens above which a warning is printed
_ADMISSIONS = {"rows": "rows read"}
_NOTES = {
    "notes": "rows read",
    "no_hadm_id": "without an admission number",
    "excluded_admission": "of excluded admissions",
    "unknown_admission": "of admissions that are not in data.admissions",
    "other_subject": "of another patient than their admission",
    "available_from_charttime": "without STORETIME, so they count from CHARTTIME",
    "available_from_chartdate": "without STORETIME and CHARTTIME",
    "before_admission": "from before the admission",
    "before_the_window": "older than window.days_before",
    "stored_after_the_window": "charted in a window and stored after it",
}


@dataclass(frozen=True)
class Stays:
    """Admissions of one split. labelled: with a label of 0 or 1; readmitted: with label 1."""

    n: int
    labelled: int
    readmitted: int


@dataclass(frozen=True)
class Chunks:
    """Chunks of one window. tokens, cut: tokens of their texts, and how many the model does not
    read."""

    documents: int
    chunks: int
    tokens: int
    cut: int


def prepare_summary(prepared: Prepared) -> str:
    """Read the published tables; return the summary and its warnings as lines of text."""
    splits = _splits(prepared)
    excluded = {
        row.reason: row["count"]
        for row in prepared.table("exclusions").groupBy("reason").count().collect()
    }
    chunks = _chunks(prepared)
    lines = [summary_table(prepared.admissions, splits, excluded, prepared.notes, chunks)]
    return "\n".join([*lines, *warnings(splits, chunks, prepared.max_tokens)])


def summary_table(
    admissions: Mapping[str, int],
    splits: Mapping[str, Stays],
    excluded: Mapping[str, int],
    notes: Mapping[str, int],
    chunks: Mapping[str, Chunks],
) -> str:
    """Format the counts by split, reason and window, without those that are 0.

    admissions, notes: the counts of the manifest. excluded: by reason.
    """
    cohort = Stays(*(sum(getattr(s, f) for s in splits.values()) for f in Stays.__annotations__))
    rows = [
        ["admissions", _by_reason({_ADMISSIONS.get(k, k): n for k, n in admissions.items()})],
        ["excluded", _by_reason(excluded)],
        ["in the cohort", _stays(cohort)],
        *([split, _stays(splits[split])] for split in _SPLITS if split in splits),
        ["notes", _by_reason({_NOTES.get(name, name): n for name, n in notes.items()})],
        *([window, _documents(found)] for window, found in sorted(chunks.items())),
    ]
    return aligned(rows)


def warnings(
    splits: Mapping[str, Stays], chunks: Mapping[str, Chunks], max_tokens: int
) -> Iterable[str]:
    """Return a line for each number that makes later figures doubtful."""
    for split, fewest in FEWEST_READMITTED.items():
        found = splits.get(split, Stays(0, 0, 0)).readmitted
        if found < fewest:
            purpose = "learn" if split == "train" else "measure"
            yield (
                f"warning: {split} has {found:,} readmitted admissions: too few to {purpose} from "
                f"(fewer than {fewest})"
            )
    for window, text in sorted(chunks.items()):
        if text.cut > _CUT * text.tokens:
            yield (
                f"warning: {window}: {text.cut / text.tokens:.1%} of the tokens are cut off at "
                f"model.max_tokens={max_tokens}: raise it, or do not set chunk.mode=words"
            )


def _splits(prepared: Prepared) -> dict[str, Stays]:
    label = F.col("label")
    rows = (
        prepared.table("cohort")
        .groupBy("split")
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.count(label).alias("labelled"),
            F.count(F.when(label == 1, 1)).alias("readmitted"),
        )
    )
    return {row.split: Stays(row.n, row.labelled, row.readmitted) for row in rows.collect()}


def _chunks(prepared: Prepared) -> dict[str, Chunks]:
    cut = F.col("n_tokens_cut")
    rows = (
        prepared.table("chunks")
        .groupBy("window")
        .agg(
            F.count(F.when(F.col("chunk_index") == 0, 1)).alias("documents"),
            F.count(F.lit(1)).alias("chunks"),
            F.sum(F.col("n_tokens") + cut).alias("tokens"),
            F.sum(cut).alias("cut"),
        )
    )
    return {
        row.window: Chunks(row.documents, row.chunks, row.tokens, row.cut) for row in rows.collect()
    }


def _stays(stays: Stays) -> str:
    share = f" ({stays.readmitted / stays.labelled:.1%})" if stays.labelled else ""
    unlabelled = stays.n - stays.labelled
    unknown = f", {unlabelled:,} without a label" if unlabelled else ""
    return f"{stays.n:,}: {stays.readmitted:,} readmitted{share}{unknown}"


def _documents(found: Chunks) -> str:
    share = found.cut / found.tokens if found.tokens else 0.0
    return (
        f"{found.chunks:,} chunks of {found.documents:,} admissions, {found.tokens:,} tokens, "
        f"{share:.1%} of them cut off"
    )


def _by_reason(counts: Mapping[str, int]) -> str:
    shown = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n]
    return ", ".join(shown) or "0"
