"""Split a text into the words that the baseline models count."""

from __future__ import annotations

import re

WORD = r"\w\w+"  # as in scikit-learn's CountVectorizer

_WORD = re.compile(WORD)


def words(text: str) -> list[str]:
    """Return the words of a cleaned text, in order, without punctuation and single characters.

    >>> words("pt w/ chf, denies pain.")
    ['pt', 'chf', 'denies', 'pain']
    """
    return _WORD.findall(text)
