"""The scorer alone on one GPU, beside transformers, as a share of what the card can do.

    python3 bench/score_gpu.py --out score_gpu.json

BERT-base shape with random weights (speed does not depend on them), chunks of real lengths: 82 %
from a 318-word window (380 to 512 tokens), 18 % tails (20 to 400), mean 403. Needs a CUDA card in
full; `--device cpu --layers 1 --chunks 20` is a rehearsal without one. About five minutes.

Rates are counted in useful arithmetic: tokens of chunks, never padding. `tflops` counts what is
computed; `tflops_model` counts the whole model, as papers do, also where the last layer is cut to
[CLS]. Every row is timed from token ids on the host to probabilities on the host (the pipeline:
from text).
"""

from __future__ import annotations

import argparse
import json
import logging
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
from _machine import describe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from readmit_spark.scoring import engines, gpu
from readmit_spark.scoring.scorer import Scorer, submit_all

HIDDEN, VOCABULARY = 768, 30_522
BUDGETS = (8_448, 16_896, 33_792, 67_584)
ARROW_ROWS = 256  # chunks a Spark batch


def real_chunks(n: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    window, tail = random.integers(380, 513, size=n), random.integers(20, 401, size=n)
    lengths = np.where(random.random(n) < 0.18, tail, window)
    return [random.integers(5, VOCABULARY, size=k).astype(np.int32) for k in lengths]


def flops(chunks: list[np.ndarray], layers: int) -> tuple[float, float]:
    """Floating-point operations of the whole model, and of the model as we compute it."""
    n = np.array([len(chunk) for chunk in chunks], dtype=np.float64)
    layer = 24 * HIDDEN**2 * n + 4 * HIDDEN * n**2
    last = 4 * HIDDEN**2 * n + 20 * HIDDEN**2 + 4 * HIDDEN * n  # keys and values; [CLS] alone
    return float(layers * layer.sum()), float(((layers - 1) * layer + last).sum())


def random_bert(folder: Path, layers: int) -> str:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(num_labels=1, num_hidden_layers=layers, vocab_size=VOCABULARY)
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def seconds(work: Callable[[], object], device: str, repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return taken


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def matmul_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """TFLOP/s of a square product on random data, median of 10 timings of 10 products each."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = a @ b

    def products() -> None:
        for _ in range(10):
            torch.matmul(a, b, out=out)

    seconds(products, device, 2)
    return 10 * 2 * size**3 / statistics.median(seconds(products, device, 10)) / 1e12


class Bench:
    def __init__(self, device: str, layers: int, n: int) -> None:
        self.device, self.layers = device, layers
        self.chunks = real_chunks(n)
        self.sample = real_chunks(min(n, 256), seed=1)
        self.folder = random_bert(Path(tempfile.mkdtemp()), layers)
        self.rows: list[dict[str, Any]] = []
        self.exact = Scorer(self.folder, device=device, precision="fp32").score(self.sample)
        self.peak = 1.0

    def row(
        self,
        name: str,
        score: Callable[[list[np.ndarray]], np.ndarray],
        *,
        chunks: list[np.ndarray] | None = None,
        repeats: int = 5,
        cut: bool = False,
        **more: object,
    ) -> None:
        """Time `score` on `chunks` (all of them), after scoring the sample to check and warm up."""
        chunks = self.chunks if chunks is None else chunks
        start = time.perf_counter()
        shift = float(np.abs(score(self.sample) - self.exact).max())
        first = time.perf_counter() - start
        score(chunks)
        taken = seconds(lambda: score(chunks), self.device, repeats)
        whole, computed = flops(chunks, self.layers)
        median = statistics.median(taken)
        rate = (computed if cut else whole) / median / 1e12
        self.rows.append(
            {
                "name": name,
                "chunks_per_s": len(chunks) / median,
                "chunks_per_s_runs": [len(chunks) / each for each in taken],
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
        """transformers' text-classification pipeline, batch 32, fp16, on as many words a chunk."""
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast, pipeline

        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = {word: i for i, word in enumerate(special)}
        words |= {f"w{i}": i for i in range(len(special), VOCABULARY)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
        classify = pipeline(
            "text-classification",
            model=engines.load_model(self.folder, torch.float16),
            tokenizer=PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, model_max_length=512, sep_token="[SEP]", **names
            ),
            device=torch.device(self.device),
            function_to_apply="sigmoid",
        )

        def as_text(chunks: list[np.ndarray]) -> list[str]:
            return [" ".join(f"w{i}" for i in chunk[1:-1]) for chunk in chunks]

        def score(chunks: list[np.ndarray]) -> np.ndarray:
            results = classify(texts[id(chunks)], batch_size=32, truncation=True)
            return np.array([result["score"] for result in results])

        # Its chunks open and close with [CLS] and [SEP]; the sample's ids must, to be compared.
        subset = self.chunks[:1024]
        for chunk in self.sample:
            chunk[0], chunk[-1] = 2, 3
        self.exact = Scorer(self.folder, device=self.device).score(self.sample)
        texts = {id(part): as_text(part) for part in (subset, self.sample)}
        self.row("transformers pipeline, batch 32, fp16", score, chunks=subset, repeats=3)

    def padded_32(self) -> None:
        """The pipeline without its text part: ids given, batches of 32 as they come."""
        model = engines.load_model(self.folder, torch.float16).to(torch.device(self.device))
        engine = engines.PaddedTorch(model, "")

        def score(chunks: list[np.ndarray]) -> np.ndarray:
            parts = [chunks[i : i + 32] for i in range(0, len(chunks), 32)]
            logits = torch.cat([engine.submit(part) for part in parts])
            return torch.sigmoid(logits.double()).cpu().numpy()

        self.row("transformers model, batch 32, fp16, ids given", score, repeats=3)

    def ours(self, precision: str, budget: int) -> Scorer:
        start = time.perf_counter()
        scorer = Scorer(self.folder, device=self.device, precision=precision, batch_tokens=budget)
        built = time.perf_counter() - start
        self.row(
            f"ours, {precision}, {budget} tokens", scorer.score, cut="packed" in scorer.backend,
            backend=scorer.backend, construct_s=built, budget=budget,
        )  # fmt: skip
        return scorer

    def stream(self, scorer: Scorer, name: str) -> None:
        def score(chunks: list[np.ndarray]) -> np.ndarray:
            parts = (chunks[i : i + ARROW_ROWS] for i in range(0, len(chunks), ARROW_ROWS))
            return np.concatenate(list(scorer.stream(parts)))

        self.row(f"{name}, as a stream of {ARROW_ROWS}", score, cut="packed" in scorer.backend)

    def out_of_memory(self, precision: str) -> dict[str, object]:
        """A budget of a million tokens in 3 % of the card: halved until it fits, nothing lost."""
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.03)
        try:
            model = engines.load_model(self.folder, engines.DTYPES[precision])
            engine = gpu.build(model, self.device, budget=1 << 20)
            lengths = [len(chunk) for chunk in self.chunks]
            parts, budget = submit_all(engine, self.chunks, lengths, engine.budget)
            n = len(Scorer._read(parts))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return {
            "engine": engine.name, "asked": 1 << 20, "fitted": budget,
            "chunks": len(lengths), "scored": n,
        }  # fmt: skip

    def kernels(self, scorer: Scorer) -> str:
        """Where the time of one call goes."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            scorer.score(self.sample)
        return str(profiled.key_averages().table(sort_by="cuda_time_total", row_limit=12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--chunks", type=int, default=4096)
    parser.add_argument("--commit", help="of the code, where the machine has no git")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    device, on_gpu = arguments.device, arguments.device != "cpu"
    facts: dict[str, Any] = {
        "machine": {**describe(), **({"commit": arguments.commit} if arguments.commit else {})},
        "command": " ".join(["python", *sys.argv]),
        "card": torch.cuda.get_device_name() if on_gpu else platform.processor(),
        "layers": arguments.layers,
        "chunks": arguments.chunks,
    }
    size = 8192 if on_gpu else 512
    for name in ("bf16", "fp16"):
        facts[f"{name}_matmul_tflops"] = matmul_rate(device, engines.DTYPES[name], size)
    print(
        {key: value for key, value in facts.items() if key not in ("command", "machine")},
        flush=True,
    )

    bench = Bench(device, arguments.layers, arguments.chunks)
    bench.peak = facts["bf16_matmul_tflops"]
    facts["mean_tokens"] = float(np.mean([len(chunk) for chunk in bench.chunks]))
    bench.pipeline()
    bench.padded_32()
    scorers = {}
    for precision in ("fp16", "bf16") if on_gpu else ("bf16",):
        for budget in BUDGETS:
            scorers[precision, budget] = bench.ours(precision, budget)
            _save(arguments.out, facts, bench.rows)
    best = max(
        (row for row in bench.rows if row["name"].startswith("ours")),
        key=lambda row: row["chunks_per_s"],
    )
    precision = best["name"].split(", ")[1]
    scorer = scorers[precision, best["budget"]]
    bench.stream(scorer, best["name"])
    facts["best"] = best["name"]
    facts["times_the_pipeline"] = best["chunks_per_s"] / bench.rows[0]["chunks_per_s"]
    facts["share_of_bf16_matmul"] = best["share_of_bf16_matmul"]
    _save(arguments.out, facts, bench.rows)
    if on_gpu:
        print(bench.kernels(scorer))
        scorers.clear()
        del scorer
        facts["out_of_memory"] = bench.out_of_memory("fp16")
        _save(arguments.out, facts, bench.rows)
        print(facts["out_of_memory"])
    print(
        f"best: {facts['best']}: {facts['times_the_pipeline']:.1f} x the pipeline, "
        f"{facts['share_of_bf16_matmul']:.1%} of the bf16 matmul rate"
    )


def _save(out: Path, facts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    out.write_text(json.dumps({**facts, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
