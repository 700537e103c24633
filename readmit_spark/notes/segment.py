"""Split a text into segments with spaCy's English rules and its `sentencizer`, word by word.

spaCy's tokenizer takes nine tenths of the time of `nlp(text)`, and it handles each run of
characters between white space on its own. So each process passes each distinct word to spaCy only
once and caches how the word changes the state of the sentencizer. A test compares the result with
`nlp(text)`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MIN_WORDS = 20

_WORD = re.compile(r"\S+")
_CACHE_SIZE = 200_000  # distinct words cached in a process; a full cache is emptied
# spaCy's time grows with the square of a word's length: 8,000 "$" take 14 s. Of a longer word it
# gets the two ends alone: they decide whether a sentence begins or ends there.
_LONGEST_WORD = 100  # characters
_END = 50  # characters


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
    segments: list[list[str]] = []
    for words in _sentences(text):
        if segments and len(words) < min_words:
            segments[-1] += words
        else:
            segments.append(words)
    return [" ".join(words) for words in segments]


def _sentences(text: str) -> list[list[str]]:
    effects = _effects()
    sentences: list[list[str]] = []
    current: list[str] = []
    seen_period = False
    end = 0
    for match in _WORD.finditer(text):
        start = match.start()
        # For spaCy, white space other than one space is a token. After a full stop it ends the
        # sentence.
        wide_gap = start - end != 1 or text[end] != " "
        end = match.end()
        word = match.group()
        by_state = effects.get(word)
        if by_state is None:
            by_state = _add_word(word, effects)
        effect = by_state[seen_period and not wide_gap]
        if current and (effect.break_before or (seen_period and wide_gap)):
            sentences.append(current)
            current = []
        current.append(word)
        if effect.break_after:
            sentences.append(current)
            current = []
        seen_period = effect.seen_period
    if current:
        sentences.append(current)
    return sentences


def _add_word(word: str, effects: dict[str, tuple[_Effect, _Effect]]) -> tuple[_Effect, _Effect]:
    """Return the word's effects without and with a full stop before it; cache them, unless the word
    is so long that few notes repeat it.
    """
    if len(word) > _LONGEST_WORD:
        return _by_state([_token_kinds(word[:_END])[0], *_token_kinds(word[-_END:])])
    by_state = _by_state(_token_kinds(word))
    if len(effects) >= _CACHE_SIZE:
        effects.clear()
    effects[word] = by_state
    return by_state


def _by_state(tokens: list[tuple[bool, bool]]) -> tuple[_Effect, _Effect]:
    return _effect(tokens, False), _effect(tokens, True)


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
    if word.isalnum():  # none of its tokens is punctuation
        return [(False, False)]
    nlp = _nlp()
    ends = nlp.get_pipe("sentencizer").punct_chars
    # spaCy fails on half a surrogate pair, and its error message would show the text.
    valid = word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return [(token.text in ends, token.is_punct) for token in nlp.tokenizer(valid)]


@lru_cache(maxsize=1)
def _nlp():  # type: ignore[no-untyped-def]
    import spacy  # slow to import, and not every job needs segments

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


@lru_cache(maxsize=1)
def _effects() -> dict[str, tuple[_Effect, _Effect]]:
    """Return this process's cache: word -> effects without and with a full stop before it."""
    return {}
