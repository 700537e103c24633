"""Vectors of terms, computed by hand one at a time, so without padding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from readmit_spark.errors import UserError
from readmit_spark.pretraining.similarity import embed, similarities

TERMS = ["heart failure", "pain", "Was admitted with heart failure", "xyz"]


def by_hand(folder: str, term: str) -> np.ndarray:
    ids = AutoTokenizer.from_pretrained(folder)(term.lower(), return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**ids, output_hidden_states=True).hidden_states
    inside = [state[0, 1:-1].double().mean(0) for state in states[-4:]]
    return sum(inside).numpy()


def test_vectors_equal_those_computed_by_hand(tiny_model: str) -> None:
    vectors = embed(tiny_model, TERMS)
    for vector, term in zip(vectors, TERMS, strict=True):
        assert vector == pytest.approx(by_hand(tiny_model, term), abs=1e-5)


def test_similarity_is_the_cosine(tiny_model: str) -> None:
    pairs = [(TERMS[0], TERMS[1]), (TERMS[2], TERMS[2])]
    a, b = by_hand(tiny_model, TERMS[0]), by_hand(tiny_model, TERMS[1])
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert similarities(tiny_model, pairs) == pytest.approx([expected, 1.0], abs=1e-5)


def test_a_term_without_tokens_is_refused(tiny_model: str) -> None:
    with pytest.raises(UserError, match="has no tokens"):
        embed(tiny_model, ["pain", ""])


def test_the_job(tiny_model: str, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("term,other,rating\nheart failure,heart failure,4\npain,no pain,3\na,z,1\n")
    job = [sys.executable, "jobs/similarity.py", str(pairs), "--config", "conf/demo.yaml",
           "--set", f"model.path={tiny_model}"]  # fmt: skip
    done = subprocess.run(
        job, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rank correlation" in done.stdout and "over 3 pairs" in done.stdout
    pairs.write_text("term,other,rating\nheart failure,z,4\npain,no pain,4\na,z,4\n")
    done = subprocess.run(
        job, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "are equal, so there is no rank" in done.stderr
