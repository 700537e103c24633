"""Cut a cleaned document into chunks that a model can read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def word_chunks(text: str, words: int = 318, min_tail_words: int = 10) -> list[str]:
    """Cut the text into chunks of `words` words each (published).

    The remainder is a chunk only if it has more than `min_tail_words` words. Words are separated by
    white space; in a chunk, one space joins them.

    >>> word_chunks("a b c d e f g", words=3, min_tail_words=0)
    ['a b c', 'd e f', 'g']
    """
    all_words = text.split()
    chunks = [all_words[i : i + words] for i in range(0, len(all_words), words)]
    if chunks and len(chunks[-1]) < words and len(chunks[-1]) <= min_tail_words:
        chunks.pop()
    return [" ".join(chunk) for chunk in chunks]


def segment_chunks(
    segments: Sequence[str],
    count_tokens: Callable[[list[str]], Sequence[int]],
    budget: int,
    min_words: int = 10,
) -> list[str]:
    """Pack whole segments greedily into chunks of at most `budget` tokens, without losing text.

    count_tokens: returns the number of tokens of each text, without special tokens. It may not
    return less than the text needs when it is joined to others by a space. A segment longer than
    the budget is added word by word; a word longer than the budget is cut between characters. A
    document of `min_words` words or fewer has no chunk.
    """
    if sum(len(s.split()) for s in segments) <= min_words:
        return []
    pieces: list[tuple[str, int]] = []
    for text, tokens in zip(segments, count_tokens(list(segments)), strict=True):
        pieces += [(text, tokens)] if tokens <= budget else _words(text, count_tokens, budget)
    chunks: list[list[str]] = []
    used = budget + 1
    for text, tokens in pieces:
        if used + tokens > budget:
            chunks.append([])
            used = 0
        chunks[-1].append(text)
        used += tokens
    return [" ".join(chunk) for chunk in chunks]


def _words(
    segment: str, count_tokens: Callable[[list[str]], Sequence[int]], budget: int
) -> list[tuple[str, int]]:
    """Split a segment into words, or parts of words, that fit; return (text, tokens)."""
    words = segment.split()
    pieces: list[tuple[str, int]] = []
    for word, tokens in zip(words, count_tokens(words), strict=True):
        if tokens <= budget or len(word) == 1:
            pieces.append((word, tokens))
        else:
            half = len(word) // 2
            pieces += _words(f"{word[:half]} {word[half:]}", count_tokens, budget)
    return pieces
