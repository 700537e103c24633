"""Scoring on a GPU: packs of a few fixed sizes, each replayed as one CUDA graph.

The host only lays token ids end to end and starts a graph; it never waits for a result. Without
padding there is one kind of batch, so a graph per pack size is enough for chunks of any lengths.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from readmit_spark.scoring.batching import Ids, Index, pack, token_packs
from readmit_spark.scoring.bert import Attend, PackedBert
from readmit_spark.scoring.engines import Engine, PaddedTorch

# 3 * 44 tiles of 128 tokens: matrix products 768, 2304 and 3072 wide (tiles of 256) then fill the
# 132 multiprocessors of an H100 in whole rounds.
GPU_TOKENS = 16_896
# Rows a graph has room for: a token budget's worth of chunks of this length. Attention launches a
# block for every possible row, so room that is never used costs time.
_TOKENS_A_ROW = 256
_SMALLEST_PACK = 1024

# run once and keep: (replay, the tensor that each replay writes)
Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]


def build(model: Any, device: str, budget: int | None = None) -> Engine:
    """The fastest engine for `model` (still on the CPU, in its final dtype) on a CUDA device.

    Packed graphs need plain BERT in 16 bits, torch >= 2.10 and an Ampere card or later; all else is
    transformers' own code on padded batches.
    """
    model = model.to(device)
    precision = str(model.dtype).removeprefix("torch.")
    attend = _flash_attend(model.config.max_position_embeddings)
    newer = torch.cuda.get_device_capability(device) >= (8, 0)
    if attend is None or not newer or model.dtype == torch.float32 or not PackedBert.fits(model):
        return PaddedTorch(model, f"torch {precision}, {device}, padded", budget or GPU_TOKENS)
    bert = PackedBert(model, attend).to(device)
    compiled = _can_compile()
    if compiled:
        for layer in bert.layers:
            layer.compile(dynamic=True)  # one compilation serves all layers and pack sizes
    name = f"torch {precision}, {device}, packed, {'compiled, ' if compiled else ''}CUDA graphs"
    return PackedGraphs(bert, torch.device(device), cuda_capture(), name, budget or GPU_TOKENS)


def _flash_attend(longest: int) -> Attend | None:
    """Flash attention over packed chunks, or None where this torch has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None

    def attend(q: Tensor, k: Tensor, v: Tensor, q_bounds: Tensor, bounds: Tensor) -> Tensor:
        return cast(Tensor, varlen_attn(q, k, v, q_bounds, bounds, longest, longest))

    return attend


def _can_compile() -> bool:
    from torch.utils._triton import has_triton

    return has_triton() and any(map(shutil.which, ("cc", "gcc", "clang")))


def cuda_capture() -> Capture:
    """Records what runs as a CUDA graph, after the warm-up runs that compile and choose kernels.

    All graphs of one capture work in the same memory, as only one of them runs at a time: after
    memory ran out, a smaller one takes what a larger one had.
    """
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            out = run()
        return graph.replay, out

    return capture


def capture_nothing(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """What `cuda_capture` does, without a GPU: each replay runs again."""
    out = run()
    return lambda: out.copy_(run()), out


@dataclass(frozen=True)
class _Graph:
    """One pack size: its input on the device, [ids, positions, bounds] in one piece, and output."""

    inputs: Tensor
    replay: Callable[[], object]
    logits: Tensor


class PackedGraphs:
    """A `PackedBert` run on packs of `budget`, budget / 2, budget / 4 ... tokens.

    A pack goes to the smallest size that holds it. The tokens after its last chunk belong to none:
    what is computed there is never read. Graphs are captured when first needed (seconds, once).
    """

    def __init__(
        self, bert: PackedBert, device: torch.device, capture: Capture, name: str, budget: int
    ) -> None:
        self.bert = bert
        self.device = device
        self.capture = capture
        self.name = name
        longest = int(bert.embeddings.position_embeddings.num_embeddings)
        self.budget = max(budget, longest, _SMALLEST_PACK)
        self.rows = self.budget // _TOKENS_A_ROW
        self._graphs: dict[int, _Graph] = {}
        self._feed = _Feed(self._inputs(self.budget), device)

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        return token_packs(lengths, min(budget, self.budget), self.rows)

    @torch.inference_mode()
    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        ids, positions, bounds = pack(chunks)
        size = self._size(len(ids))
        graph = self._graphs.get(size) or self._capture(size)
        host = self._feed.next()[: self._inputs(size)]
        # What is left of an earlier pack of another size could be no valid id or position: zeros.
        # Rows without a chunk are empty ones after the last.
        host[: 2 * size], host[2 * size :] = 0, len(ids)
        host[: len(ids)] = ids
        host[size : size + len(ids)] = positions
        host[2 * size : 2 * size + len(bounds)] = bounds
        self._feed.send(graph.inputs)
        graph.replay()
        return graph.logits[: len(chunks)].clone()

    def _size(self, tokens: int) -> int:
        size = self.budget
        while size // 2 >= max(tokens, _SMALLEST_PACK):
            size //= 2
        return size

    def _inputs(self, size: int) -> int:
        return 2 * size + self.rows + 1

    def _capture(self, size: int) -> _Graph:
        inputs = torch.zeros(self._inputs(size), dtype=torch.int32, device=self.device)
        ids, positions, bounds = inputs[:size], inputs[size : 2 * size], inputs[2 * size :]
        replay, logits = self.capture(lambda: self.bert(ids, positions, bounds))
        self._graphs[size] = _Graph(inputs, replay, logits)
        return self._graphs[size]


class _Feed:
    """Two host buffers in turn: one is filled while the other's copy may still be on its way."""

    def __init__(self, size: int, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._buffers = [torch.zeros(size, dtype=torch.int32, pin_memory=on_gpu) for _ in range(2)]
        event: Any = torch.cuda.Event
        self._copied = [event(), event()] if on_gpu else []
        self._turn = 0

    def next(self) -> np.ndarray:
        """The buffer to fill now, as soon as its last copy is done."""
        self._turn = 1 - self._turn
        if self._copied:
            self._copied[self._turn].synchronize()
        return self._buffers[self._turn].numpy()

    def send(self, target: Tensor) -> None:
        """Start the copy of the buffer's first len(target) numbers to the device."""
        target.copy_(self._buffers[self._turn][: len(target)], non_blocking=True)
        if self._copied:
            self._copied[self._turn].record()
