"""Write ADMISSIONS and NOTEEVENTS tables of any size, in MIMIC-III's shape, from real medical text.

Speed on toy text says little: spaCy, the regular expressions and WordPiece all remember words
that they have met. So the prose comes from real transcriptions, and the numbers, dates and tags
that give clinical text its many distinct words are random for each note.

Like MIMIC-III (2,083,180 notes, 58,976 admissions): 35 notes an admission, spread over the stay;
one discharge summary; one note in nine without HADM_ID. Unlike it: notes have 420 words on
average. The published NOTEEVENTS file (about 4 GB) has shorter ones, so an extrapolation from
these notes is pessimistic.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

WORDS_A_NOTE = 420
NOTES_AN_ADMISSION = 35
FILE_NOTES = 4_000  # notes a Parquet file, so that a reader finds work for several cores
PARQUET: dict[str, Any] = {"index": False, "coerce_timestamps": "us"}  # Spark reads no nanoseconds
CATEGORIES = [
    "Nursing",
    "Nursing/other",
    "Physician ",
    "Radiology",
    "Respiratory ",
    "ECG",
    "General",
]
NOTE_COLUMNS = [
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "STORETIME", "CATEGORY",
    "DESCRIPTION", "CGID", "ISERROR", "TEXT",
]  # fmt: skip
ADMISSION_COLUMNS = [
    "ROW_ID", "SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "DEATHTIME", "ADMISSION_TYPE",
]  # fmt: skip


def parse_options(
    arguments: list[str] | None, description: str | None, notes: int
) -> argparse.Namespace:
    """Parse --text and --notes (default: `notes`)."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notes", type=int, default=notes)
    add_text_option(parser)
    return parser.parse_args(arguments)


def add_text_option(parser: argparse.ArgumentParser) -> None:
    """Add --text, the file that `load_sentences` reads."""
    parser.add_argument(
        "--text", type=_existing_file, required=True, metavar="FILE",
        help="CSV of medical transcriptions, plain or gzipped, with a `transcription` column "
        "(for example MTSamples)",
    )  # fmt: skip


def _existing_file(name: str) -> Path:
    if not Path(name).exists():
        raise argparse.ArgumentTypeError(f"{name} does not exist")
    return Path(name)


@dataclass(frozen=True)
class Cohort:
    """A folder with the two tables, and their size."""

    folder: Path
    notes: int
    admissions: int
    words: int
    characters: int

    def path(self, table: str, kind: str) -> str:
        """Return the path of ADMISSIONS or NOTEEVENTS as `csv` or `parquet`."""
        return str(self.folder / (f"{table}.csv" if kind == "csv" else table))


def load_sentences(path: Path) -> list[list[str]]:
    """Return the sentences of each transcription of more than 500 characters."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        texts = [row["transcription"] for row in csv.DictReader(lines)]
    return [re.split(r"(?<=[.:?])\s*,?\s+", text) for text in texts if text and len(text) > 500]


def write_cohort(folder: Path, notes: int, sentences: list[list[str]], seed: int = 1) -> Cohort:
    """Write ADMISSIONS and NOTEEVENTS, each as one CSV and as a folder of Parquet files."""
    rng = random.Random(seed)
    admissions = pd.DataFrame(_admissions(rng, notes), columns=ADMISSION_COLUMNS)
    admissions.to_csv(_create(folder) / "ADMISSIONS.csv", index=False)
    admissions.to_parquet(_create(folder / "ADMISSIONS") / "part-0.parquet", **PARQUET)

    written = words = characters = 0
    rows = _notes(rng, admissions, notes, sentences)
    parts = _create(folder / "NOTEEVENTS")
    with (folder / "NOTEEVENTS.csv").open("w", encoding="utf-8", newline="") as out:
        while batch := [row for row, _ in zip(rows, range(FILE_NOTES), strict=False)]:
            frame = pd.DataFrame(batch, columns=NOTE_COLUMNS)
            frame["HADM_ID"] = frame["HADM_ID"].astype("Int64")
            frame["ISERROR"] = frame["ISERROR"].astype("Int64")
            frame.to_csv(out, index=False, header=written == 0)
            frame.to_parquet(parts / f"part-{written:09}.parquet", **PARQUET)
            written += len(frame)
            words += int(frame["TEXT"].str.split().str.len().sum())
            characters += int(frame["TEXT"].str.len().sum())
    return Cohort(folder, written, len(admissions), words, characters)


def _create(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _admissions(rng: random.Random, notes: int) -> list[list[object]]:
    rows: list[list[object]] = []
    subject, start = 0, datetime(2100, 1, 1)
    for number in range(max(1, notes // NOTES_AN_ADMISSION)):
        if number == 0 or rng.random() < 0.79:  # 46,520 patients, 58,976 admissions
            subject += 1
            start = datetime(2100, 1, 1) + timedelta(minutes=rng.randrange(50 * 525_600))
        else:
            start += timedelta(days=rng.expovariate(1 / 120))
        start = start.replace(microsecond=0)
        end = start + timedelta(minutes=int(1440 * min(90.0, rng.lognormvariate(1.9, 0.85))))
        died = end if rng.random() < 0.1 else None
        kind = rng.choices(["EMERGENCY", "URGENT", "ELECTIVE", "NEWBORN"], [71, 2, 13, 13])[0]
        rows.append([number + 1, subject, 100_000 + number, start, end, died, kind])
        start = end
    return rows


def _notes(
    rng: random.Random, admissions: pd.DataFrame, notes: int, sentences: list[list[str]]
) -> Iterator[list[object]]:
    """Yield rows. An admission gets notes in proportion to the length of its stay."""
    days = (admissions["DISCHTIME"] - admissions["ADMITTIME"]).dt.total_seconds() / 86_400
    share = days / days.sum()
    row_id = 0
    for admission, part, length in zip(admissions.itertuples(), share, days, strict=True):
        for number in range(max(1, round(part * notes))):
            row_id += 1
            summary = number == 0
            at = (
                admission.DISCHTIME
                if summary
                else admission.ADMITTIME + timedelta(days=rng.random() * length)
            )
            at = at.replace(microsecond=0)
            yield [
                row_id,
                admission.SUBJECT_ID,
                admission.HADM_ID if summary or rng.random() < 8 / 9 else None,
                at.strftime("%Y-%m-%d"),
                None if summary else at,
                None if summary else at,
                "Discharge summary" if summary else rng.choice(CATEGORIES),
                "Report",
                rng.randrange(14_000, 22_000),
                1 if rng.random() < 0.001 else None,
                _text(rng, sentences, summary),
            ]


def _text(rng: random.Random, sentences: list[list[str]], summary: bool) -> str:
    """Make about WORDS_A_NOTE words: a header, runs of real sentences, lines of values."""
    target = WORDS_A_NOTE * rng.lognormvariate(-0.37, 0.6)  # the last run of sentences exceeds it
    lines = []
    if summary:
        lines.append(f"Admission Date:  [**{_date(rng)}**]   Discharge Date:  [**{_date(rng)}**]\n")
    lines.append(
        f"[**Hospital{rng.randrange(99)} {rng.randrange(99)}**] Dr. [**Last Name**], M.D.\n"
    )
    words = 10
    while words < target:
        source = rng.choice(sentences)
        first = rng.randrange(len(source))
        run = source[first : first + rng.randrange(4, 16)]
        lines.append("\n".join(run))
        lines.append(
            f"{rng.randrange(1, 9)}. [**{_date(rng)}**] BP {rng.randrange(90, 180)}/"
            f"{rng.randrange(50, 100)} WBC-{rng.uniform(2, 20):.1f} Hct-{rng.uniform(20, 45):.1f} "
            f"K {rng.uniform(3, 6):.1f} ___ Plt {rng.randrange(50, 500)}-- {rng.randrange(24):02}:"
            f"{rng.randrange(60):02}\n"
        )
        words += 10 + sum(sentence.count(" ") + 1 for sentence in run)
    return "\n".join(lines)


def _date(rng: random.Random) -> str:
    return f"2{rng.randrange(100, 200)}-{rng.randrange(1, 13)}-{rng.randrange(1, 29)}"
