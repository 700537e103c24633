"""docs/method.md in simple, slow code: plain Python, csv, datetime, spaCy.

The tests compare the package with this module, so it shares no code with the package: no pandas, no
Spark, only loops over lists.

One limit of CSV: the csv module reads a quoted empty text (`""`) and a missing one alike, and
`read_csv` makes both None. This matters in one case only: an empty text in the last discharge
summary of an admission.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, str | None]

DAY = timedelta(days=1)
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})([ T]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]{1,9})?)?"
)
NULLS = {"", "null", "(null)", "[null]", "<null>", "\\n", "nat", "nan", "none", "na", "<na>", "n/a",
         "#n/a", "nil", "."}  # fmt: skip
YEARS = range(1971, 2300)


class Cohort(NamedTuple):
    """rows: by HADM_ID. exclusions: HADM_ID and first reason of each admission left out."""

    rows: dict[int, dict[str, Any]]
    exclusions: list[tuple[int, str]]


class Chunk(NamedTuple):
    window: str
    hadm_id: int
    chunk_index: int
    text: str
    n_words: int


# --- tables (section 1) ---------------------------------------------------------------------------


def read_csv(path: str | Path) -> list[dict[str, str | None]]:
    """Read the rows of a .csv or .csv.gz: keys in upper case, empty fields None."""
    csv.field_size_limit(2**31 - 1)
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as lines:
        return [
            {name.strip().upper(): value or None for name, value in row.items()}
            for row in csv.DictReader(lines)
        ]


def there(text: str | None) -> str | None:
    """Return the value without white space at its ends; None for what programs write for a null."""
    stripped = (text or "").strip(" \t\r\n\u00a0\ufeff")
    return None if stripped.lower() in NULLS else stripped


def parse_code(text: str | None) -> str | None:
    """Return the code in upper case with single blanks; None for a null."""
    folded = " ".join((there(text) or "").split()).upper()
    return folded or None


def parse_time(text: str | None, *, end_of_day: bool = False) -> datetime | None:
    """Parse `yyyy-MM-dd HH:mm:ss`, with a blank or T between; None for anything else, and for a
    year that databases write for "none".

    The seconds may be missing. A fraction is cut to microseconds. A date alone is midnight, or with
    end_of_day the last microsecond of the day.
    """
    match = TIME.fullmatch(there(text) or "")
    if match is None:
        return None
    day, _, minutes, seconds, fraction = match.groups()
    if fraction and not seconds:
        return None
    try:
        whole = datetime.strptime(
            f"{day} {minutes or '00:00'}{seconds or ':00'}", "%Y-%m-%d %H:%M:%S"
        )
    except ValueError:  # 30 February, 25 o'clock, second 60
        return None
    if whole.year not in YEARS:
        return None
    if minutes is None and end_of_day:
        return whole + DAY - timedelta(microseconds=1)
    return whole + timedelta(microseconds=int((fraction or ".0")[1:7].ljust(6, "0")))


def parse_date(text: str | None) -> date | None:
    """Return the day of a date or a time; None for anything else."""
    time = parse_time(text)
    return time.date() if time else None


def parse_flag(text: str | None) -> bool:
    """Return whether the value marks a note as an error: any value that does not say no."""
    flag = (there(text) or "no").lower()
    number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", flag)
    return float(flag) != 0 if number else flag not in ("f", "false", "n", "no", "b'0'")


def parse_id(text: str | None) -> int | None:
    """Parse a whole number, also `100001.0`, as pandas writes a column with nulls."""
    match = re.fullmatch(r"(-?[0-9]+)(\.0+)?", there(text) or "")
    return int(match[1]) if match else None


def distinct(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without exact duplicates."""
    first_rows: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        first_rows.setdefault(tuple(sorted(row.items())), row)
    return list(first_rows.values())


# --- cohort, label, split (sections 2 and 9) ------------------------------------------------------


def label(days_next_admit: float | None, *, horizon_days: float = 30.0) -> int:
    """Return 1 if an unplanned admission starts within the horizon after discharge, else 0."""
    return int(days_next_admit is not None and days_next_admit < horizon_days)


def _hash(text: str) -> int:
    return int(hashlib.md5(text.encode()).hexdigest()[:8], 16)


def split(key: int, seed: int) -> str:
    """Return test (10 %), validation (10 %) or train (80 %), from a hash of key and seed."""
    share = _hash(f"{seed}:{key}") / 2**32
    return "test" if share < 0.1 else "validation" if share < 0.2 else "train"


def fold(key: int, seed: int) -> int:
    return _hash(f"{seed}:fold:{key}") % 5


def cohort(
    admissions: Iterable[Row],
    *,
    profile: str,
    seed: int,
    horizon_days: float = 30.0,
    split_level: str | None = None,
) -> Cohort:
    """Compute section 2: first the labels of all admissions, then the exclusions.

    split_level: `patient` or `admission`; None uses the default of the profile. Two different rows
    with one HADM_ID are a ValueError.
    """
    level = split_level or {"default": "patient", "paper": "admission"}[profile]
    stays: list[dict[str, Any]] = []
    for row in distinct(admissions):
        stays.append(
            {
                "subject_id": parse_id(row["SUBJECT_ID"]),
                "hadm_id": parse_id(row["HADM_ID"]),
                "admittime": parse_time(row["ADMITTIME"]),
                "dischtime": parse_time(row["DISCHTIME"]),
                "deathtime": parse_time(row["DEATHTIME"]),
                "death": _is_event(row["DEATHTIME"]),
                "admission_type": parse_code(row["ADMISSION_TYPE"]),
            }
        )
    if len({stay["hadm_id"] for stay in stays}) < len(stays):
        raise ValueError("different ADMISSIONS rows share a HADM_ID")

    of_subject: dict[Any, list[dict[str, Any]]] = {}
    for stay in stays:
        of_subject.setdefault(stay["subject_id"], []).append(stay)

    for stay in stays:
        others = of_subject[stay["subject_id"]]
        stay["after_death"] = profile == "default" and _begins_after_death(stay, others)

    result = Cohort({}, [])
    for stay in stays:
        reason = _why_excluded(stay, profile)
        if reason:
            result.exclusions.append((stay["hadm_id"], reason))
            continue
        of_same = of_subject[stay["subject_id"]]
        following = _next_unplanned(stay, of_same)
        days = days_between(stay["dischtime"], following)
        readmitted = label(days, horizon_days=horizon_days)
        unknown = profile == "default" and (
            stay["dischtime"] is None
            or (not readmitted and _dies_within(horizon_days, stay, of_same))
        )
        key = stay["subject_id"] if level == "patient" else stay["hadm_id"]
        result.rows[stay["hadm_id"]] = {
            **{
                name: value
                for name, value in stay.items()
                if name not in ("deathtime", "death", "after_death")
            },
            "next_admittime": following,
            "days_next_admit": days,
            "label": None if unknown else readmitted,
            "duration_days": days_between(stay["admittime"], stay["dischtime"]),
            "split": split(key, seed),
            "fold": fold(key, seed),
            "midnights": midnights(stay, profile),
        }
    return result


def midnights(stay: Mapping[str, Any], profile: str) -> int | None:
    """Count the midnights of the stay one by one; in the paper profile full days of 24 hours."""
    if stay["dischtime"] is None:
        return None
    if profile == "paper":
        days = days_between(stay["admittime"], stay["dischtime"])
        return None if days is None else math.floor(days)
    return (stay["dischtime"].date() - stay["admittime"].date()).days


def _why_excluded(stay: Mapping[str, Any], profile: str) -> str | None:
    if stay["admittime"] is None:
        return "admittime_unparsed"
    if stay["admission_type"] == "NEWBORN":
        return "newborn"
    if _died(stay, profile):
        return "died_in_hospital"
    if stay["after_death"]:
        return "after_death"
    backwards = stay["dischtime"] is not None and stay["dischtime"] < stay["admittime"]
    if backwards and profile == "default":
        return "discharge_before_admission"
    return None


def _is_event(text: str | None) -> bool:
    """Return whether a value is there and is no year of "not yet", such as 9999."""
    match = re.match(r"([0-9]{4})-[0-9]{2}-[0-9]{2}", there(text) or "")
    return there(text) is not None and not (match and int(match[1]) >= YEARS.stop)


def _died(stay: Mapping[str, Any], profile: str) -> bool:
    """Return whether the patient died in the stay; a time of death that cannot be read counts."""
    if not stay["death"]:
        return False
    times = (stay["deathtime"], stay["dischtime"])
    return profile == "paper" or None in times or times[0] <= times[1]


def _dies_within(
    horizon_days: float, stay: Mapping[str, Any], stays_of_subject: list[dict[str, Any]]
) -> bool:
    """Return whether a death on the day of discharge or later is known, less than `horizon_days`
    after it: in a later stay, or by a DEATHTIME after DISCHTIME."""
    deaths = [
        other["deathtime"] or other["dischtime"]
        for other in stays_of_subject
        if _died(other, "default")
        and other["admittime"]
        and stay["admittime"]
        and (other["admittime"], other["hadm_id"]) > (stay["admittime"], stay["hadm_id"])
    ]
    # The first of the later stays alone counts.
    deaths = [min(death for death in deaths if death)] if any(deaths) else []
    if stay["deathtime"] and stay["deathtime"] > stay["dischtime"]:
        deaths.append(stay["deathtime"])
    return any(
        death.date() >= stay["dischtime"].date()
        and days_between(stay["dischtime"], death) < horizon_days
        for death in deaths
    )


def _begins_after_death(stay: Mapping[str, Any], stays_of_subject: list[dict[str, Any]]) -> bool:
    if stay["admittime"] is None:
        return False
    for other in stays_of_subject:
        earlier = other["admittime"] is None or (
            (other["admittime"], other["hadm_id"]) < (stay["admittime"], stay["hadm_id"])
        )
        died_at = other["deathtime"] or other["dischtime"]
        if earlier and _died(other, "default") and died_at and died_at < stay["admittime"]:
            return True
    return False


def _next_unplanned(
    stay: Mapping[str, Any], stays_of_subject: list[dict[str, Any]]
) -> datetime | None:
    """Return the ADMITTIME of the subject's first later admission that is not ELECTIVE.

    An admission without ADMITTIME, or after the subject's death, is ignored; one of unknown type is
    not ELECTIVE."""
    place = (stay["admittime"], stay["hadm_id"])
    later = sorted(
        (other["admittime"], other["hadm_id"])
        for other in stays_of_subject
        if other["admittime"] is not None
        and other["admission_type"] != "ELECTIVE"
        and not other["after_death"]
        and (other["admittime"], other["hadm_id"]) > place
    )
    return later[0][0] if later else None


def days_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start) / DAY


# --- documents (section 3) ------------------------------------------------------------------------


def documents(
    notes: Iterable[Row], rows: Mapping[int, Mapping[str, Any]], window: str, profile: str
) -> dict[int, str]:
    """Return the raw text of each admission of the cohort that has a note in the window.

    The rule for windows is that of the profile.
    """
    of_stay: dict[int, list[tuple[Any, str]]] = {}
    for note in distinct(notes):
        hadm_id, text = parse_id(note["HADM_ID"]), note["TEXT"]
        stay = rows.get(hadm_id) if hadm_id is not None else None
        if stay is None or stay["subject_id"] != parse_id(note["SUBJECT_ID"]) or text is None:
            continue
        if profile == "default" and parse_flag(note["ISERROR"]):
            continue
        if _in_window(note, stay, window, profile):
            of_stay.setdefault(stay["hadm_id"], []).append((_place(note), text))
    texts = {hadm_id: [text for _, text in sorted(notes)] for hadm_id, notes in of_stay.items()}
    if window == "discharge":
        return {hadm_id: notes[-1] for hadm_id, notes in texts.items()}
    return {hadm_id: " ".join(notes) for hadm_id, notes in texts.items()}


def _in_window(note: Row, stay: Mapping[str, Any], window: str, profile: str) -> bool:
    is_summary = parse_code(note["CATEGORY"]) == "DISCHARGE SUMMARY"
    if window == "discharge":
        return is_summary
    admitted, days = stay["admittime"].date(), int(window.removesuffix("days"))
    if profile == "paper":
        charted = parse_date(note["CHARTDATE"])
        return charted is not None and (charted - admitted).days < days
    if is_summary:
        return False
    readable = _readable_from(note)
    return readable is not None and readable <= _midnight(admitted + days * DAY)


def _readable_from(note: Row) -> datetime | None:
    charted = parse_date(note["CHARTDATE"])
    return (
        parse_time(note.get("STORETIME"), end_of_day=True)
        or parse_time(note["CHARTTIME"], end_of_day=True)
        or (_midnight(charted + DAY) if charted else None)
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time())


def _place(note: Row) -> tuple[Any, ...]:
    """Sort key: CHARTDATE, CHARTTIME, ROW_ID; null comes last."""
    known: list[Any] = [
        parse_date(note["CHARTDATE"]),
        parse_time(note["CHARTTIME"], end_of_day=True),
        parse_id(note["ROW_ID"]),
    ]
    return tuple((value is None, value or 0) for value in known)


# --- text (sections 4 to 6) -----------------------------------------------------------------------


def clean(text: str | None, published: bool = False, keep_decimals: bool = True) -> str:
    """Clean a text as in section 4. White space left at both ends is kept."""
    text = " " if text is None else text
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    text = re.sub(r"\[(.*?)\]", "", text)
    text = re.sub(r"(?<!\S)[0-9]+\.(?![0-9])" if keep_decimals else r"[0-9]+\.", "", text)
    before = "" if published else r"(?<![^\W_])"
    text = re.sub(before + r"dr\.", "doctor" if published else "doctor ", text)
    text = re.sub(before + ("" if published else r"(?<!\.)") + r"m\.d\.", "md", text)
    text = re.sub(r"admission date:", "", text)
    text = re.sub(r"discharge date:", "", text)
    if published:
        return re.sub(r"--|__|==", "", text)
    return re.sub(r"-{2,}|_{2,}|={2,}", " ", text)


def clean_for_pretraining(text: str | None) -> str:
    """Clean a text for pretraining, as in the last line of section 4."""
    cleaned = clean(text, keep_decimals=False)
    return re.sub(r"\s+", " ", re.sub(r"[0-9]", "", cleaned)).strip()


@cache
def _sentencizer() -> Any:
    import spacy

    english = spacy.blank("en")
    english.add_pipe("sentencizer")
    return english


def segments(text: str) -> list[str]:
    """Return the segments of a cleaned text (section 5), words joined by one space.

    A boundary that the sentencizer puts inside a white-space word ("in.The") does not cut it: the
    word belongs to the segment in which it starts.
    """
    english = _sentencizer()
    english.max_length = len(text) + 1  # the default refuses a text of over a million characters
    readable = re.sub("[\ud800-\udfff]", "\ufffd", text)  # spaCy raises on half a surrogate pair
    ends = [sentence.end_char for sentence in english(readable).sents]

    sentences: list[list[str]] = [[] for _ in ends]
    number = 0
    for start, word in _words_with_offsets(text):
        while start >= ends[number]:
            number += 1
        sentences[number].append(word)

    fused: list[list[str]] = []
    for words in filter(None, sentences):
        if len(words) < 20 and fused:
            fused[-1] += words
        else:
            fused.append(list(words))
    return [" ".join(words) for words in fused]


def _words_with_offsets(text: str) -> Iterator[tuple[int, str]]:
    position = 0
    for word in text.split():
        position = text.index(word, position)
        yield position, word
        position += len(word)


def word_chunks(text: str, words: int = 318, min_tail_words: int = 10) -> list[str]:
    """Cut into full chunks, and the rest if it has more than `min_tail_words` (section 6)."""
    all_words = text.split()
    windows = [all_words[start : start + words] for start in range(0, len(all_words), words)]
    return [" ".join(w) for w in windows if len(w) == words or len(w) > min_tail_words]


def segment_chunks(
    text: str, count_tokens: Callable[[str], int], budget: int, min_tail_words: int = 10
) -> list[str]:
    """Pack whole segments, or the words of a longer one, while they fit (section 6).

    count_tokens: counts the tokens of a text, without special tokens.
    """
    if len(text.split()) <= min_tail_words:
        return []
    pieces: list[str] = []
    for segment in segments(text):
        if count_tokens(segment) <= budget:
            pieces.append(segment)
        else:
            pieces += [p for word in segment.split() for p in _fitting(word, count_tokens, budget)]
    packed: list[str] = []
    for piece in pieces:
        longer = f"{packed[-1]} {piece}" if packed else piece
        if packed and count_tokens(longer) <= budget:
            packed[-1] = longer
        else:
            packed.append(piece)
    return packed


def _fitting(word: str, count_tokens: Callable[[str], int], budget: int) -> list[str]:
    """Halve a word until its parts fit."""
    if count_tokens(word) <= budget:
        return [word]
    half = len(word) // 2
    parts = word[:half], word[half:]
    return [piece for part in parts for piece in _fitting(part, count_tokens, budget)]


def chunks(
    notes: Iterable[Row],
    rows: Mapping[int, Mapping[str, Any]],
    windows: Iterable[str],
    profile: str,
    cut: Callable[[str], list[str]] = word_chunks,
) -> list[Chunk]:
    """Return the chunks table without token columns, by window, HADM_ID and chunk.

    cut: cuts a cleaned text.
    """
    notes = list(notes)
    return [
        Chunk(window, hadm_id, index, text, len(text.split()))
        for window in windows
        for hadm_id, document in sorted(documents(notes, rows, window, profile).items())
        for index, text in enumerate(cut(clean(document, profile == "paper", profile != "paper")))
    ]


# --- patient-level score (section 8) --------------------------------------------------------------


def vote(probabilities: Iterable[float], c: float = 2.0) -> float:
    """Return (P_max + P_mean n/c) / (1 + n/c) of the n chunks of one admission."""
    values = list(probabilities)
    n = len(values)
    mean = sum(values) / n
    return (max(values) + mean * n / c) / (1 + n / c)
