"""The published figures for MIMIC-III.

PAPER: Huang, Altosaar and Ranganath, arXiv 1904.05342, version 3, with its corrections: mean and
standard deviation over five folds, on balanced test sets (a standard deviation is given for
ClinicalBERT alone). ARTICLE: Imasogie 2020, on an older checkpoint, one split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    mean: float
    sd: float | None = None


Figures = Mapping[str, Figure]  # by measure: auroc, auprc, rp80


def _row(*figures: float | tuple[float, float]) -> Figures:
    row = [Figure(*f) if isinstance(f, tuple) else Figure(f) for f in figures]
    return dict(zip(("auroc", "auprc", "rp80"), row, strict=True))


PAPER: Mapping[str, Mapping[str, Figures]] = {
    "discharge": {
        "ClinicalBERT": _row((0.714, 0.018), (0.701, 0.021), (0.242, 0.111)),
        "bag of words": _row(0.684, 0.674, 0.217),
        "BiLSTM": _row(0.694, 0.686, 0.223),
        "BERT": _row(0.692, 0.678, 0.172),
    },
    "2days": {
        "ClinicalBERT": _row((0.674, 0.038), (0.674, 0.039), (0.154, 0.099)),
        "bag of words": _row(0.648, 0.650, 0.144),
        "BiLSTM": _row(0.649, 0.660, 0.143),
        "BERT": _row(0.659, 0.656, 0.141),
    },
    "3days": {
        "ClinicalBERT": _row((0.672, 0.039), (0.677, 0.036), (0.170, 0.114)),
        "bag of words": _row(0.654, 0.657, 0.122),
        "BiLSTM": _row(0.656, 0.668, 0.150),
        "BERT": _row(0.661, 0.668, 0.167),
    },
}
ARTICLE: Mapping[str, Figures] = {
    "2days": {"auroc": Figure(0.748), "rp80": Figure(0.3869)},
    "3days": {"auroc": Figure(0.758), "rp80": Figure(0.3802)},
}
