"""The findings of the demo hospital: what they weigh, and the sentences that tell them.

The course of the illness decides most of the risk, and only context tells it. Its sentence has two
lists, "reports ..., but denies ...". One list holds a warning sign, the other a harmless one, at
least two words away from the head and from the end of the list. The course is bad if the patient
reports the warning sign. Both courses have the same words, pairs and triples of words, so a model
that counts them learns nothing.

Two findings are told by single words. They weigh little.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

INTERCEPT = -3.8
AGE_WEIGHT = 0.15  # log odds per ten years from 62


@dataclass(frozen=True)
class Finding:
    """A yes/no finding; weight: added to the log odds of readmission if it is present."""

    share: float  # of the admissions that have it
    weight: float


FINDINGS = {
    "course": Finding(0.38, 5.4),
    "oxygen": Finding(0.4, 0.4),
    "appetite": Finding(0.45, 0.4),
}


def true_risk(findings: Mapping[str, bool], age: float) -> float:
    """Return the probability of a readmission, by a logistic model of all findings and the age."""
    return risk_of_reader(findings, age, FINDINGS)


def risk_of_reader(findings: Mapping[str, bool], age: float, read: Collection[str]) -> float:
    """Return the mean risk of all admissions with this age and these findings in `read`.

    The others are unknown to the reader; findings occur independently of each other and of the age.
    """
    unread = [name for name in FINDINGS if name not in read]
    mean = 0.0
    for values in itertools.product((False, True), repeat=len(unread)):
        guess = {**findings, **dict(zip(unread, values, strict=True))}
        shares = (FINDINGS[n].share if v else 1 - FINDINGS[n].share for n, v in guess.items()
                  if n in unread)  # fmt: skip
        log_odds = sum(finding.weight for name, finding in FINDINGS.items() if guess[name])
        log_odds += INTERCEPT + AGE_WEIGHT * (age - 62) / 10
        mean += math.prod(shares) / (1 + math.exp(-log_odds))
    return mean


# The two lists of the sentence that tells the course: the one that the patient reports, the other.
_COURSE = "ROS: {he} reports {reported}, but denies {denied}."
WARNING_SIGNS = ("chest pressure", "leg swelling", "dyspnea at rest")
_HARMLESS_SIGNS = ("mild itching", "sneezing", "a stuffy nose")
# Of two words each, so that no triple joins a head of a list and a sign.
_OTHER_SIGNS = (
    "back pain", "dry skin", "sore throat", "blurred vision", "joint stiffness", "hair loss",
    "ear pain", "heat intolerance", "night cramps", "runny nose", "hoarse voice", "dry eyes",
    "neck stiffness", "cold hands",
)  # fmt: skip
# Findings of single words: (present, absent), equally long.
IN_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "oxygen": (
        ("sat 90% on face mask", "sat 97% on room air"),
        ("needs 4 L oxygen", "needs no more oxygen"),
    ),
    "appetite": (
        ("Poor appetite, losing weight", "Good appetite, steady weight"),
        ("Albumin 2.1, eats little", "Albumin 4.1, eats well"),
    ),
}


def describe(name: str, present: bool, rng: np.random.Generator) -> str:
    """Return words that tell one of the findings of single words; both answers are equally long.

    >>> describe("appetite", True, np.random.default_rng(0))
    'Albumin 2.1, eats little'
    """
    forms = IN_WORDS[name]
    return forms[int(rng.integers(len(forms)))][0 if present else 1]


def describe_course(bad: bool, female: bool, rng: np.random.Generator) -> str:
    """Return a sentence that tells the course of the illness.

    >>> describe_course(True, False, np.random.default_rng(3)).split(", but ")[0]
    'ROS: he reports dry skin, sore throat, chest pressure, runny nose'
    """
    lists = [_list(rng) for _ in range(2)]
    signs = [part[int(rng.integers(len(part)))] for part in (WARNING_SIGNS, _HARMLESS_SIGNS)]
    for items, sign in zip(lists, signs if bad else reversed(signs), strict=True):
        items.insert(int(rng.integers(1, len(items))), sign)
    reported, denied = (", ".join(items) for items in lists)
    return _COURSE.format(he="she" if female else "he", reported=reported, denied=denied)


def _list(rng: np.random.Generator) -> list[str]:
    return [_OTHER_SIGNS[i] for i in rng.choice(len(_OTHER_SIGNS), 3, replace=False)]
