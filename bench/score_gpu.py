"""Measure the scorer alone on one GPU, beside transformers, as a share of the card's speed.

    python3 bench/score_gpu.py                                      5 minutes; needs a CUDA card
    python3 bench/score_gpu.py --device cpu --layers 1 --chunks 4   a quick check, a minute

Claims: chunks a second in bf16 on one card, the share of the card's rate in a plain bf16 product,
how many times faster than a transformers pipeline, seconds of the first chunks, and that no chunk
is lost when memory runs out.

The model has BERT-base's shape and random weights; chunks are random tokens of realistic lengths.
Rates count operations for tokens, never for padding. `tflops` counts what is computed;
`tflops_model` counts the whole model, also if the last layer is computed for [CLS] alone. Every
row is timed from token ids to probabilities in the computer's memory (the pipeline: from text). The
machine needs torch, transformers and psutil, but no Spark.

Writes bench/results/score_gpu.json (other sizes: score_gpu_small.json).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common.machine import describe, quiet_libraries
from bench.common.random_bert import (
    BERT_BASE_LAYERS,
    VOCABULARY,
    count_operations,
    random_bert,
    random_chunks,
)
from bench.common.results import write_result
from readmit_spark.scoring import engines, gpu
from readmit_spark.scoring.scorer import Scorer, submit_all

CHUNKS = 4096
BUDGETS = (8_448, 16_896, 33_792, 67_584)
ARROW_ROWS = 256  # chunks a Spark batch


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    quiet_libraries()
    machine = describe()
    if options.commit:
        machine["commit"] = options.commit
    with tempfile.TemporaryDirectory(prefix="bench-score-gpu-") as folder:
        result = _measure(Path(folder), options)
    full = options.device != "cpu" and (options.layers, options.chunks) == (
        BERT_BASE_LAYERS,
        CHUNKS,
    )
    path = write_result("score_gpu", machine, result, full=full)
    print(
        f"best: {result['best']}: {result['times_the_pipeline']:.1f} x the pipeline, "
        f"{result['share_of_bf16_matmul']:.1%} of the bf16 matmul rate"
    )
    print(path)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=BERT_BASE_LAYERS)
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--commit", help="of the code, if the machine has no git")
    return parser.parse_args(arguments)


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    device, on_gpu = options.device, options.device != "cpu"
    size = 8192 if on_gpu else 512
    peaks = {name: matmul_rate(device, engines.DTYPES[name], size) for name in ("bf16", "fp16")}
    bench = GpuBench(folder, device, options.layers, options.chunks, peaks["bf16"])
    bench.pipeline()
    bench.padded_32()
    scorers = {}
    for precision in ("fp16", "bf16") if on_gpu else ("bf16",):
        for budget in BUDGETS:
            scorer = bench.ours(precision, budget)
            scorers[bench.rows[-1]["name"]] = scorer
    best = max(
        (row for row in bench.rows if row["name"].startswith("ours")),
        key=lambda row: row["chunks_per_s"],
    )
    bench.stream(scorers[best["name"]], best["name"])
    del scorer
    scorers.clear()  # frees the card for the test of memory
    return {
        "card": torch.cuda.get_device_name() if on_gpu else platform.processor(),
        "layers": options.layers,
        "chunks": options.chunks,
        **{f"{name}_matmul_tflops": rate for name, rate in peaks.items()},
        "mean_tokens": float(np.mean([len(chunk) for chunk in bench.chunks])),
        "best": best["name"],
        "times_the_pipeline": best["chunks_per_s"] / bench.rows[0]["chunks_per_s"],
        "share_of_bf16_matmul": best["share_of_bf16_matmul"],
        "out_of_memory": bench.out_of_memory("fp16") if on_gpu else None,
        "rows": bench.rows,
    }


def matmul_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """Return TFLOP/s of a square product of random data, from 10 timings of 10 products each."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = a @ b

    def products() -> None:
        for _ in range(10):
            torch.matmul(a, b, out=out)

    seconds(products, device, 2)
    return 10 * 2 * size**3 / statistics.median(seconds(products, device, 10)) / 1e12


def seconds(work: Callable[[], object], device: str, repeats: int) -> list[float]:
    """Return the seconds of each call, with the GPU idle before and after it."""
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times


class GpuBench:
    """One random model and its chunks; each method adds a row of figures to `rows`."""

    def __init__(self, folder: Path, device: str, layers: int, chunks: int, peak: float) -> None:
        """peak: TFLOP/s of a plain bf16 product on this card."""
        self.device, self.layers, self.peak = device, layers, peak
        self.chunks = random_chunks(chunks)
        self.sample = random_chunks(min(chunks, 256), seed=1)
        self.folder = random_bert(folder, layers)
        self.rows: list[dict[str, Any]] = []
        self.exact = Scorer(self.folder, device=device, precision="fp32").score(self.sample)

    def add_row(
        self,
        name: str,
        score: Callable[[list[np.ndarray]], np.ndarray],
        *,
        chunks: list[np.ndarray] | None = None,
        repeats: int = 5,
        cut: bool = False,
        **more: object,
    ) -> None:
        """Time `score` on `chunks` (default: all), after the sample, which checks and warms up.

        cut: whether `score` leaves out the part of the last layer that the result does not need.
        """
        chunks = self.chunks if chunks is None else chunks
        start = time.perf_counter()
        shift = float(np.abs(score(self.sample) - self.exact).max())
        first = time.perf_counter() - start
        score(chunks)
        times = seconds(lambda: score(chunks), self.device, repeats)
        whole, computed = count_operations([len(c) for c in chunks], self.layers)
        median = statistics.median(times)
        rate = (computed if cut else whole) / median / 1e12
        self.rows.append(
            {
                "name": name,
                "chunks_per_s": len(chunks) / median,
                "chunks_per_s_runs": [len(chunks) / each for each in times],
                "tflops": rate,
                "tflops_model": whole / median / 1e12,
                "share_of_bf16_matmul": rate / self.peak,
                "max_probability_shift": shift,
                "first_sample_s": first,
                **more,
            }
        )
        print(
            f"{name:44s} {len(chunks) / median:8.0f} chunks/s {rate:6.1f} TFLOP/s "
            f"{rate / self.peak:5.1%} |dp| {shift:.1e} first {first:5.1f} s",
            flush=True,
        )

    def pipeline(self) -> None:
        """Time transformers' text-classification pipeline, batch 32, fp16, on 1,024 chunks.

        A chunk becomes a text with one word for each token.
        """
        from transformers import pipeline

        classify = pipeline(
            "text-classification",
            model=engines.load_model(self.folder, torch.float16),
            tokenizer=_word_tokenizer(),
            device=torch.device(self.device),
            function_to_apply="sigmoid",
        )

        def as_text(chunks: list[np.ndarray]) -> list[str]:
            return [" ".join(f"w{i}" for i in chunk[1:-1]) for chunk in chunks]

        def score(chunks: list[np.ndarray]) -> np.ndarray:
            results = classify(texts[id(chunks)], batch_size=32, truncation=True)
            return np.array([result["score"] for result in results])

        # The pipeline adds [CLS] and [SEP], so the sample must have them too.
        subset = self.chunks[:1024]
        for chunk in self.sample:
            chunk[0], chunk[-1] = 2, 3
        self.exact = Scorer(self.folder, device=self.device).score(self.sample)
        texts = {id(part): as_text(part) for part in (subset, self.sample)}
        self.add_row("transformers pipeline, batch 32, fp16", score, chunks=subset, repeats=3)

    def padded_32(self) -> None:
        """Time transformers' model on token ids, in batches of 32 in their order."""
        model = engines.load_model(self.folder, torch.float16).to(torch.device(self.device))
        engine = engines.PaddedTorch(model, "")

        def score(chunks: list[np.ndarray]) -> np.ndarray:
            parts = [chunks[i : i + 32] for i in range(0, len(chunks), 32)]
            logits = torch.cat([engine.submit(part) for part in parts])
            return torch.sigmoid(logits.double()).cpu().numpy()

        self.add_row("transformers model, batch 32, fp16, ids given", score, repeats=3)

    def ours(self, precision: str, budget: int) -> Scorer:
        """Time our scorer with a token budget a batch."""
        start = time.perf_counter()
        scorer = Scorer(self.folder, device=self.device, precision=precision, batch_tokens=budget)
        built = time.perf_counter() - start
        self.add_row(
            f"ours, {precision}, {budget} tokens", scorer.score, cut="packed" in scorer.backend,
            backend=scorer.backend, construct_s=built, budget=budget,
        )  # fmt: skip
        return scorer

    def stream(self, scorer: Scorer, name: str) -> None:
        """Time our scorer on chunks that arrive in batches, as Spark sends them."""

        def score(chunks: list[np.ndarray]) -> np.ndarray:
            parts = (chunks[i : i + ARROW_ROWS] for i in range(0, len(chunks), ARROW_ROWS))
            return np.concatenate(list(scorer.stream(parts)))

        self.add_row(f"{name}, as a stream of {ARROW_ROWS}", score, cut="packed" in scorer.backend)

    def out_of_memory(self, precision: str) -> dict[str, object]:
        """Score with a budget of a million tokens in 3 % of the card's memory.

        The scorer halves the budget until it fits. No chunk may be lost.
        """
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.03)
        try:
            model = engines.load_model(self.folder, engines.DTYPES[precision])
            engine = gpu.build_engine(model, self.device, budget=1 << 20)
            lengths = [len(chunk) for chunk in self.chunks]
            parts, budget = submit_all(engine, self.chunks, lengths, engine.budget)
            n = len(Scorer._collect(parts))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return {
            "engine": engine.name, "asked": 1 << 20, "fitted": budget,
            "chunks": len(lengths), "scored": n,
        }  # fmt: skip


def _word_tokenizer() -> Any:
    """Return a tokenizer with one token for each word `w0`, `w1`, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: i for i, word in enumerate(special)}
    words |= {f"w{i}": i for i in range(len(special), VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, sep_token="[SEP]", **names
    )


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
