"""The programs that prepare is held against, each as it would be written.

`published` is the algorithm of the paper's own preprocessing code: labels looked up an admission
at a time, a row appended to a data frame a chunk. `linear` is what a careful person would write
instead for the text alone: compiled expressions, one list, one core. `segments` asks spaCy for the
sentences of each text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

WORDS, MIN_TAIL_WORDS = 318, 10

_EXPRESSIONS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\[(.*?)\]", ""),
        (r"[0-9]+\.", ""),
        (r"dr\.", "doctor"),
        (r"m\.d\.", "md"),
        (r"admission date:", ""),
        (r"discharge date:", ""),
        (r"--|__|==", ""),
    ]
]


def published(
    admissions: pd.DataFrame, notes: pd.DataFrame, windows: Iterable[str]
) -> pd.DataFrame:
    """Chunks with labels (ID, TEXT, Label, window) of both tables, as the paper's code makes them:
    all its steps but tokenisation. Quadratic: in the admissions for the label, in the chunks for
    the appended rows."""
    labels = _labels(admissions)
    notes = notes.merge(
        labels[["SUBJECT_ID", "HADM_ID", "ADMITTIME"]], on=["SUBJECT_ID", "HADM_ID"], how="inner"
    )
    notes = notes[notes["TEXT"].notna()].sort_values(["SUBJECT_ID", "HADM_ID", "CHARTDATE"])
    days = (pd.to_datetime(notes["CHARTDATE"]) - notes["ADMITTIME"].dt.normalize()).dt.days
    result = pd.DataFrame()
    for window in windows:
        if window == "discharge":
            summaries = notes[notes["CATEGORY"] == "Discharge summary"]
            documents = summaries.groupby("HADM_ID")["TEXT"].last().reset_index()
        else:
            early = notes[days < int(window.removesuffix("days"))]
            documents = early.groupby("HADM_ID")["TEXT"].apply(" ".join).reset_index()
        documents["Label"] = [
            labels[labels["HADM_ID"] == hadm_id]["OUTPUT_LABEL"].iloc[0]
            for hadm_id in documents["HADM_ID"]
        ]
        documents["TEXT"] = _published_clean(documents["TEXT"])
        result = pd.concat([result, _published_chunks(documents).assign(window=window)])
    return result


def linear(texts: pd.Series) -> pd.DataFrame:
    """id, chunk_index, text: each text cleaned and cut, in one pass on one core."""
    rows = []
    for identity, text in texts.items():
        cleaned = text.replace("\n", " ").replace("\r", " ").strip().lower()
        for expression, replacement in _EXPRESSIONS:
            cleaned = expression.sub(replacement, cleaned)
        words = cleaned.split()
        for index, start in enumerate(range(0, len(words), WORDS)):
            piece = words[start : start + WORDS]
            if len(piece) == WORDS or len(piece) > MIN_TAIL_WORDS:
                rows.append((identity, index, " ".join(piece)))
    return pd.DataFrame(rows, columns=["id", "chunk_index", "text"])


def segments(nlp: Any, text: str, min_words: int = 20) -> list[str]:
    """spaCy's sentences, each of fewer words fused onto the one before it. A sentence that ends
    inside a word ends behind it. nlp: a tokenizer and the sentencizer."""
    sentences, words = [], re.finditer(r"\S+", text)
    word = next(words, None)
    for sentence in nlp(text).sents:
        mine = []
        while word and word.start() < sentence.end_char:
            mine.append(word.group())
            word = next(words, None)
        if sentences and len(mine) < min_words:
            sentences[-1] += mine
        elif mine:
            sentences.append(mine)
    return [" ".join(words) for words in sentences]


def _labels(admissions: pd.DataFrame) -> pd.DataFrame:
    frame = admissions.sort_values(["SUBJECT_ID", "ADMITTIME"]).reset_index(drop=True)
    of_subject = frame.groupby("SUBJECT_ID")
    following = of_subject["ADMITTIME"].shift(-1)
    following[of_subject["ADMISSION_TYPE"].shift(-1) == "ELECTIVE"] = pd.NaT
    frame["NEXT_ADMITTIME"] = following
    frame["NEXT_ADMITTIME"] = frame.groupby("SUBJECT_ID")["NEXT_ADMITTIME"].bfill()
    days = (frame["NEXT_ADMITTIME"] - frame["DISCHTIME"]).dt.total_seconds() / 86_400
    frame["OUTPUT_LABEL"] = (days < 30).astype(int)
    return frame[(frame["ADMISSION_TYPE"] != "NEWBORN") & frame["DEATHTIME"].isna()]


def _published_clean(texts: pd.Series) -> pd.Series:
    texts = texts.fillna(" ")
    texts = texts.str.replace("\n", " ", regex=False).str.replace("\r", " ", regex=False)
    texts = texts.apply(str.strip).str.lower()

    def preprocess(x: str) -> str:
        y = re.sub("\\[(.*?)\\]", "", x)
        y = re.sub("[0-9]+\\.", "", y)
        y = re.sub("dr\\.", "doctor", y)
        y = re.sub("m\\.d\\.", "md", y)
        y = re.sub("admission date:", "", y)
        y = re.sub("discharge date:", "", y)
        return re.sub("--|__|==", "", y)

    return texts.apply(preprocess)


def _published_chunks(documents: pd.DataFrame) -> pd.DataFrame:
    want = pd.DataFrame({"ID": [], "TEXT": [], "Label": []})
    for i in range(len(documents)):
        x = documents["TEXT"].iloc[i].split()
        label, hadm_id = documents["Label"].iloc[i], documents["HADM_ID"].iloc[i]
        n = len(x) // WORDS
        pieces = [x[j * WORDS : (j + 1) * WORDS] for j in range(n)]
        if len(x) % WORDS > MIN_TAIL_WORDS:
            pieces.append(x[-(len(x) % WORDS) :])
        for piece in pieces:
            row = pd.DataFrame({"ID": [hadm_id], "TEXT": [" ".join(piece)], "Label": [label]})
            want = pd.concat([want, row], ignore_index=True)
    return want
