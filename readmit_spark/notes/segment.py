"""Split a text into segments with spaCy's English rules and its `sentencizer`, word by word.

Nearly all of the time of `nlp(text)` goes into tokens that change nothing. A sentence can end only
after a word that has one of the sentencizer's characters. So words without one are passed over, and
spaCy sees each distinct other word only once, and what follows it. A test compares the result with
`nlp(text)`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import compress
from typing import NamedTuple, TypeVar

MIN_WORDS = 20

_CACHE_SIZE = 200_000  # distinct words cached in a process; a full cache is emptied
# spaCy's time grows with the square of a word's length: 8,000 "$" take 14 s. Of a longer word it
# gets the two ends alone: they decide whether a sentence begins or ends there.
_LONGEST_WORD = 100  # characters
_END = 50  # characters
# White space other than one space is a token for spaCy. After a full stop it ends the sentence.
_WIDE = "  "
_OTHER_SPACES = [c for c in map(chr, range(0x3001)) if c.isspace() and c != " "]


_T = TypeVar("_T")


class _Effect(NamedTuple):
    """How a word affects the sentencizer that is in a given state before the word."""

    break_before: bool
    break_after: bool
    seen_period: bool  # state after the word


def segment(text: str, min_words: int = MIN_WORDS) -> list[str]:
    """Split `text` into sentences; append sentences of fewer than `min_words` words to the one
    before.

    Words are separated by white space; in a segment, one space joins them. The words of all
    segments, in order, are the words of the text. A sentence end that spaCy finds inside a word
    takes effect after the word. The first segment may be short. An empty text has no segment.

    >>> segment("pt seen. denies pain. plan: home.", min_words=2)
    ['pt seen.', 'denies pain.', 'plan: home.']
    """
    for space in _OTHER_SPACES:
        if space in text:
            text = text.replace(space, _WIDE)
    parts = text.split(" ")  # "" where the space is wide
    segments: list[list[str]] = []
    start = 0
    for end in [*_breaks(parts), len(parts)]:
        words = list(filter(None, parts[start:end]))
        start = end
        if segments and len(words) < min_words:
            segments[-1] += words
        elif words:
            segments.append(words)
    return [" ".join(words) for words in segments]


def _breaks(parts: list[str]) -> list[int]:
    """Return the indices before which a sentence ends, in order. A part is a word or ""."""
    breaks: list[int] = []
    stops, after_period = _stops(), _after_period()
    at = 0
    for stop in compress(range(len(parts)), map(stops.__getitem__, parts)):
        if stop < at:  # has followed a full stop
            continue
        at = stop
        effect = stops[parts[at]]
        assert effect is not None  # `compress` leaves out the words without an effect
        while True:
            if effect.break_before:
                breaks.append(at)
            at += 1
            if effect.break_after:
                breaks.append(at)
            if not effect.seen_period:
                break
            wide = at
            while at < len(parts) and not parts[at]:
                at += 1
            if at == len(parts):
                return breaks
            if at > wide:
                breaks.append(at)
                break  # the word is as one without a full stop before it
            effect = after_period[parts[at]]
    return breaks


class _Stops(dict[str, _Effect | None]):
    """The cached effect of each word without a full stop before it; None for a word without any."""

    def __missing__(self, word: str) -> _Effect | None:
        if _ends().isdisjoint(word):
            return _remember(self, word, None)
        effect = _effect(_token_kinds(word), False)
        return _remember(self, word, effect if any(effect) else None)


class _AfterPeriod(dict[str, _Effect]):
    """The cached effect of each word with a full stop before it."""

    def __missing__(self, word: str) -> _Effect:
        return _remember(self, word, _effect(_token_kinds(word), True))


def _remember(cache: dict[str, _T], word: str, effect: _T) -> _T:
    """Cache the effect, unless the word is so long that few notes repeat it; return it."""
    if len(word) <= _LONGEST_WORD:
        if len(cache) >= _CACHE_SIZE:
            cache.clear()
        cache[word] = effect
    return effect


def _effect(tokens: list[tuple[bool, bool]], seen_period: bool) -> _Effect:
    """Apply the rules of spaCy's `Sentencizer.predict` to the tokens of a word.

    tokens: (ends a sentence, is punctuation).
    """
    breaks = []
    for i, (ends, punctuation) in enumerate(tokens):
        if seen_period and not ends and not punctuation:
            breaks.append(i)
            seen_period = False
        elif ends:
            seen_period = True
    return _Effect(0 in breaks, any(i > 0 for i in breaks), seen_period)


def _token_kinds(word: str) -> list[tuple[bool, bool]]:
    """Return (ends a sentence, is punctuation) of each of the word's spaCy tokens."""
    if len(word) > _LONGEST_WORD:
        return [_token_kinds(word[:_END])[0], *_token_kinds(word[-_END:])]
    if word.isalnum():  # none of its tokens is punctuation
        return [(False, False)]
    # spaCy fails on half a surrogate pair, and its error message would show the text.
    valid = word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    ends = _ends()
    return [(token.text in ends, token.is_punct) for token in _nlp().tokenizer(valid)]


@lru_cache(maxsize=1)
def _nlp():  # type: ignore[no-untyped-def]
    import spacy  # slow to import, and not every job needs segments

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


@lru_cache(maxsize=1)
def _ends() -> frozenset[str]:
    """Return the characters that end a sentence, each a token."""
    return frozenset(_nlp().get_pipe("sentencizer").punct_chars)


@lru_cache(maxsize=1)
def _stops() -> _Stops:
    return _Stops()


@lru_cache(maxsize=1)
def _after_period() -> _AfterPeriod:
    return _AfterPeriod()
