"""Packing and graphs of the GPU engine, on the CPU: only capture and attention are replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from readmit_spark.scoring import gpu
from readmit_spark.scoring.bert import PackedBert, attend_each
from readmit_spark.scoring.engines import load_model
from readmit_spark.scoring.scorer import Scorer, submit_all


class Captures:
    """A `gpu.Capture` without a GPU: each replay computes again. n: number of captures."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, run):
        self.n += 1
        out = run()
        return lambda: out.copy_(run()), out


@pytest.fixture
def engine(tiny_bert, monkeypatch) -> gpu.PackedGraphs:
    monkeypatch.setattr(gpu, "_SMALLEST_PACK", 64)
    monkeypatch.setattr(gpu, "_TOKENS_PER_ROW", 32)
    bert = PackedBert(load_model(tiny_bert), attend_each)
    return gpu.PackedGraphs(bert, torch.device("cpu"), Captures(), "cpu", budget=1024)


def score(engine, chunks, budget: int = 1024) -> np.ndarray:
    parts, _ = submit_all(engine, chunks, [len(chunk) for chunk in chunks], budget)
    return Scorer._collect(parts)


def test_packs_have_the_scores_of_the_cpu_engine(engine, tiny_bert, chunks) -> None:
    expected = Scorer(tiny_bert, device="cpu").score(chunks)
    np.testing.assert_allclose(score(engine, chunks), expected, atol=1e-6)


def test_a_replay_does_not_depend_on_the_previous_pack(engine, chunks) -> None:
    expected = score(engine, chunks[:3])
    score(engine, [np.full(64, 9, dtype=np.int32)] * 12)
    np.testing.assert_allclose(score(engine, chunks[:3]), expected, atol=1e-7)


def test_a_later_pack_does_not_overwrite_earlier_results(engine, chunks) -> None:
    first = engine.submit(chunks[:2])
    copy = first.clone()
    engine.submit(chunks[2:4])
    assert torch.equal(first, copy)


def test_each_pack_size_is_captured_once(engine, chunks) -> None:
    for _ in range(3):
        engine.submit(chunks[:1])  # 64 tokens
        engine.submit([chunks[0]] * 16)  # 1,024
    assert engine.capture.n == 2


def test_tokens_outside_all_chunks_do_not_matter(engine, chunks) -> None:
    expected = score(engine, chunks[:3])
    graph = engine._graphs[256]
    inside = sum(len(chunk) for chunk in chunks[:3])
    with torch.inference_mode():
        graph.inputs[inside:256] = 99
    np.testing.assert_allclose(score(engine, chunks[:3]), expected, atol=1e-7)


def test_a_pack_uses_the_smallest_size_that_holds_it(engine) -> None:
    sizes = {tokens: engine._size(tokens) for tokens in (1, 64, 65, 512, 513, 1024)}
    assert sizes == {1: 64, 64: 64, 65: 128, 512: 512, 513: 1024, 1024: 1024}


def test_many_short_chunks_need_several_packs(engine, tiny_bert) -> None:
    short = [np.array([5, 6, i], dtype=np.int32) for i in range(7, 90)]
    assert len(short) > engine.rows
    np.testing.assert_allclose(
        score(engine, short), Scorer(tiny_bert, device="cpu").score(short), atol=1e-6
    )


def test_a_halved_budget_reuses_captured_sizes(engine, chunks) -> None:
    expected = score(engine, chunks)
    np.testing.assert_allclose(score(engine, chunks, budget=256), expected, atol=1e-6)
    assert set(engine._graphs) <= {64, 128, 256, 512, 1024}


def test_unused_rows_are_empty_chunks_after_the_last_one(engine, chunks) -> None:
    for _ in range(2):  # both host buffers
        engine.submit(chunks[:6])
    engine.submit(chunks[:2])  # 66 tokens: another size, buffers used before
    bounds = engine._graphs[128].inputs[256:]
    assert bounds.tolist() == [0, 64] + [66] * (engine.rows - 1)


def test_a_model_that_does_not_compile_runs_uncompiled(engine, chunks, caplog) -> None:
    """As on a node whose compiler has no Python.h."""
    expected = score(engine, chunks)
    engine._graphs.clear()

    def no_header(graph, inputs):
        raise RuntimeError("fatal error: Python.h: No such file")

    engine.name = "torch bf16, cuda, packed, compiled, CUDA graphs"
    for layer in engine.bert.layers:
        layer.compile(backend=no_header, dynamic=True)
    np.testing.assert_array_equal(score(engine, chunks), expected)
    assert engine.name == "torch bf16, cuda, packed, CUDA graphs"
    (line,) = [record.getMessage() for record in caplog.records if "compile" in record.message]
    assert line.endswith("the model runs uncompiled, which is slower")


def test_other_errors_of_a_capture_are_raised(engine, chunks) -> None:
    def broken(run):
        raise RuntimeError("CUDA error")

    engine.capture = broken
    with pytest.raises(RuntimeError, match="CUDA error"):
        score(engine, chunks)


@pytest.mark.parametrize(
    ("missing", "expected"), [(None, True), ("gcc", False), ("Python.h", False)]
)
def test_compiling_needs_a_compiler_and_pythons_headers(
    tmp_path, monkeypatch, missing, expected
) -> None:
    if missing != "Python.h":
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(gpu.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None if missing == "gcc" else name)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    assert gpu._can_compile() is expected
