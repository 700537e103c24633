"""Words, as the baselines count them."""

from __future__ import annotations

import re

WORD = r"\w\w+"  # two letters, digits or underscores or more: scikit-learn's CountVectorizer's

_WORD = re.compile(WORD)


def words(text: str) -> list[str]:
    """The words of a cleaned text, in order; punctuation and single letters are none.

    >>> words("pt w/ chf, denies pain.")
    ['pt', 'chf', 'denies', 'pain']
    """
    return _WORD.findall(text)
