"""No text of a note makes cleaning, segmenting, chunking, provenance or tokenising fail or hang."""

from __future__ import annotations

import base64
import random
import time

import pytest

from readmit_spark.notes.chunk import segment_chunks, word_chunks
from readmit_spark.notes.clean import clean, clean_for_pretraining
from readmit_spark.notes.provenance import clean_with_origins, passages
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.text_rules import DEFAULT, PUBLISHED, Cleaning
from tests.nasty_texts import NASTY_TEXTS

SECONDS = 5.0  # for all steps of a note of some thousand characters, on a busy machine
SYMBOLS = [*"$()[]{}\"'_:*#+>-=.,;!?/\\|~^&%@0123456789", "\n", "\r\n", "\t", "\u00a0", "\u2028",
           "[**", "**]", "'s", "dr.", "m.d.", "http://a.", "12.", "\u05e9\u05dc", "\u202e",
           "\U0001f600", "\ud83d", "\x00", "\u0130", "e\u0301"]  # fmt: skip


def generated_note(draw: random.Random) -> str:
    """Return a nasty text with repetitions, insertions and long words, of at most 20,000
    characters."""
    text = draw.choice(NASTY_TEXTS)[1][:3_000]
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(text) + 1)
        piece = draw.choice((_run, _mixture, _base64, _slice))(draw, text)
        text = text[:at] + piece + text[at:]
    # As the tables are read: half a surrogate pair becomes a replacement character.
    return text[:20_000].encode("utf-8", "replace").decode()


def _run(draw: random.Random, text: str) -> str:
    return draw.choice(SYMBOLS) * draw.randrange(1, 3_000)


def _mixture(draw: random.Random, text: str) -> str:
    return "".join(draw.choices(SYMBOLS, k=draw.randrange(1, 400)))


def _base64(draw: random.Random, text: str) -> str:
    return base64.b64encode(draw.randbytes(draw.randrange(1, 3_000))).decode()


def _slice(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text) + 1)
    return text[start : start + draw.randrange(1, 1_000)]


def process(text: str, tokenizer: ChunkTokenizer, cleaning: Cleaning = DEFAULT) -> None:
    """Take the text through each step; assert that no word is lost on the way."""
    cleaned = clean(text, cleaning)
    words = cleaned.split()
    assert clean_with_origins(text, cleaning)[0] == cleaned
    clean_for_pretraining(text, cleaning.published)
    segments = segment(cleaned)
    assert " ".join(segments).split() == words
    assert [word for s in segment(text) for word in s.split()] == text.split()
    chunks = word_chunks(cleaned, 40, 0)
    assert " ".join(chunks).split() == words
    whole = segment_chunks(segments, tokenizer.count, tokenizer.budget, 0)
    assert "".join(whole).replace(" ", "") == "".join(words)
    passages([text], chunks, cleaning)
    assert all(len(e.input_ids) <= tokenizer.max_tokens for e in tokenizer.encode(chunks))


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))])
def test_generated_notes_lose_no_word_and_take_little_time(
    tokenizer: ChunkTokenizer, seed: int
) -> None:
    """300 notes, and 5,000 of each slow seed."""
    draw = random.Random(seed)
    process("first", tokenizer)  # loads spaCy
    for number in range(300 if seed == 1 else 5_000):
        text = generated_note(draw)
        start = time.perf_counter()
        process(text, tokenizer, (DEFAULT, PUBLISHED)[number % 2])
        assert time.perf_counter() - start < SECONDS, f"note {number} of seed {seed}"


PIECES = ["x", "$", "([", "a.", "9", "9.", "[", "\U0001f600", "\u05d0"]


@pytest.mark.parametrize(
    ("piece", "megabytes"),
    [*((p, 0.5) for p in PIECES), *(pytest.param(p, 5, marks=pytest.mark.slow) for p in PIECES)],
)
def test_a_long_word_takes_little_time(
    tokenizer: ChunkTokenizer, piece: str, megabytes: float
) -> None:
    """Twelve seconds a megabyte: a step of quadratic time would take minutes for half of one."""
    text = "pain " + piece * (int(megabytes * 1_000_000) // len(piece))
    start = time.perf_counter()
    cleaned = clean(text, DEFAULT)
    segment(cleaned)
    chunks = word_chunks(cleaned, 40, 0)
    passages([text], chunks, DEFAULT)
    tokenizer.encode(chunks)
    assert time.perf_counter() - start < 12 * megabytes
