"""Rule-based sentence segments: spaCy's English tokenizer and `sentencizer`, a word at a time.

spaCy's tokenizer is nine tenths of the cost of `nlp(text)`, and it treats each run of characters
between blanks on its own. So each distinct word is shown to it once a process, what the
sentencizer would do on meeting that word is remembered, and a text is a walk over its words. A
test holds the result against `nlp(text)` itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MIN_WORDS = 20

_WORD = re.compile(r"\S+")
_MEMORY = 200_000  # distinct words remembered a process; beyond it the memory starts afresh


class _Step(NamedTuple):
    """What a word does to the sentencizer, for one state before it."""

    break_before: bool
    break_after: bool
    seen_period: bool


def segment(text: str, min_words: int = MIN_WORDS) -> list[str]:
    """Sentences of `text`, each of fewer than `min_words` words fused onto the one before it.

    Words are what white space separates; a segment's words are joined by one blank, and the words
    of all segments, in order, are those of the text. A sentence end that spaCy sees inside a word
    takes effect behind it. The first segment may be short; an empty text has none.

    >>> segment("pt seen. denies pain. plan: home.", min_words=2)
    ['pt seen.', 'denies pain.', 'plan: home.']
    """
    segments: list[list[str]] = []
    for words in _sentences(text):
        if segments and len(words) < min_words:
            segments[-1] += words
        else:
            segments.append(words)
    return [" ".join(words) for words in segments]


def _sentences(text: str) -> list[list[str]]:
    steps = _steps()
    sentences: list[list[str]] = []
    current: list[str] = []
    seen_period = False
    end = 0
    for match in _WORD.finditer(text):
        start = match.start()
        # Anything but one blank between two words is a token of its own for spaCy, and closes a
        # sentence that has had its full stop.
        wide_gap = start - end != 1 or text[end] != " "
        end = match.end()
        word = match.group()
        pair = steps.get(word)
        if pair is None:
            pair = _learn(word, steps)
        step = pair[seen_period and not wide_gap]
        if current and (step.break_before or (seen_period and wide_gap)):
            sentences.append(current)
            current = []
        current.append(word)
        if step.break_after:
            sentences.append(current)
            current = []
        seen_period = step.seen_period
    if current:
        sentences.append(current)
    return sentences


def _learn(word: str, steps: dict[str, tuple[_Step, _Step]]) -> tuple[_Step, _Step]:
    tokens = _token_kinds(word)
    pair = (_walk(tokens, False), _walk(tokens, True))
    if len(steps) >= _MEMORY:
        steps.clear()
    steps[word] = pair
    return pair


def _walk(tokens: list[tuple[bool, bool]], seen_period: bool) -> _Step:
    """spaCy's `Sentencizer.predict` over the tokens (ends a sentence, is punctuation) of a word."""
    breaks = []
    for i, (ends, punctuation) in enumerate(tokens):
        if seen_period and not ends and not punctuation:
            breaks.append(i)
            seen_period = False
        elif ends:
            seen_period = True
    return _Step(0 in breaks, any(i > 0 for i in breaks), seen_period)


def _token_kinds(word: str) -> list[tuple[bool, bool]]:
    if word.isalnum():  # however spaCy splits it, no part is punctuation
        return [(False, False)]
    nlp = _nlp()
    ends = nlp.get_pipe("sentencizer").punct_chars
    # Half a surrogate pair is no character for spaCy, and its error would show the text.
    whole = word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return [(token.text in ends, token.is_punct) for token in nlp.tokenizer(whole)]


@lru_cache(maxsize=1)
def _nlp():  # type: ignore[no-untyped-def]  # spaCy is imported only where it is used
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


@lru_cache(maxsize=1)
def _steps() -> dict[str, tuple[_Step, _Step]]:
    return {}
