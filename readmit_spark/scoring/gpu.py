"""Score on a GPU: packs of a few fixed sizes, each computed by replaying one CUDA graph.

The CPU only concatenates token ids and starts a graph; it does not wait for results. Because packs
have no padding, one graph for each pack size serves chunks of any length.
"""

from __future__ import annotations

import logging
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from readmit_spark.scoring.batching import Ids, Index, pack, token_packs
from readmit_spark.scoring.bert import Attend, PackedBert
from readmit_spark.scoring.engines import Engine, PaddedTorch

log = logging.getLogger(__name__)

# 3 * 44 tiles of 128 tokens: matrix products of width 768, 2304 and 3072 (tiles of 256) then keep
# all 132 multiprocessors of an H100 busy in every round.
GPU_TOKENS = 16_896
# A graph has one row for each 256 tokens. Attention launches a block for every row, used or not, so
# more rows cost time.
_TOKENS_PER_ROW = 256
_SMALLEST_PACK = 1024

Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
"""capture(run) records run() and returns (replay, the tensor that each replay overwrites)."""


def build_engine(model: Any, device: str, budget: int | None = None) -> Engine:
    """Return the fastest engine for `model` on a CUDA device.

    model: on the CPU, in its final dtype. budget: tokens per pack; None uses the default. Packed
    graphs need a plain BERT in 16 bits, torch >= 2.10 and an Ampere GPU or later; otherwise the
    engine is transformers' own code on padded batches.
    """
    model = model.to(device)
    precision = str(model.dtype).removeprefix("torch.")
    attend = _flash_attend(model.config.max_position_embeddings)
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    if (
        attend is None
        or not ampere
        or model.dtype == torch.float32
        or not PackedBert.supports(model)
    ):
        return PaddedTorch(model, f"torch {precision}, {device}, padded", budget or GPU_TOKENS)
    bert = PackedBert(model, attend).to(device)
    compiled = _can_compile()
    if compiled:
        for layer in bert.layers:
            layer.compile(dynamic=True)  # one compilation serves all layers and pack sizes
    name = f"torch {precision}, {device}, packed, {'compiled, ' if compiled else ''}CUDA graphs"
    return PackedGraphs(bert, torch.device(device), cuda_capture(), name, budget or GPU_TOKENS)


def _flash_attend(longest: int) -> Attend | None:
    """Return flash attention for packed chunks of at most `longest` tokens.

    None if this torch does not have it.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None

    def attend(q: Tensor, k: Tensor, v: Tensor, q_bounds: Tensor, bounds: Tensor) -> Tensor:
        return cast(Tensor, varlen_attn(q, k, v, q_bounds, bounds, longest, longest))

    return attend


def _can_compile() -> bool:
    """Return whether this machine has what Triton compiles its launchers with."""
    from torch.utils._triton import has_triton

    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return headers and has_triton() and any(map(shutil.which, ("cc", "gcc", "clang")))


def cuda_capture() -> Capture:
    """Return a `Capture` that records a CUDA graph, after warm-up runs for compilation.

    All its graphs use the same memory, because only one runs at a time. After an out-of-memory
    error a smaller graph reuses the memory of a larger one.
    """
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        warm_up = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(warm_up)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            out = run()
        return graph.replay, out

    return capture


@dataclass(frozen=True)
class _Graph:
    """The graph of one pack size. inputs: ids, positions and bounds in one device tensor."""

    inputs: Tensor
    replay: Callable[[], object]
    logits: Tensor


class PackedGraphs:
    """Engine: a `PackedBert` on packs of `budget`, budget / 2, budget / 4 ... tokens.

    A pack uses the smallest size that holds it. Results for unused tokens after its last chunk are
    never read. The graph of a size is captured at its first use, which takes seconds.
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
        self.rows = self.budget // _TOKENS_PER_ROW
        self._graphs: dict[int, _Graph] = {}
        self._buffers = _HostBuffers(self._input_size(self.budget), device)

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        """Group chunks into packs without padding."""
        return token_packs(lengths, min(budget, self.budget), self.rows)

    @torch.inference_mode()
    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        """Copy a pack to the GPU and start its graph; return logits without waiting for them."""
        ids, positions, bounds = pack(chunks)
        size = self._size(len(ids))
        graph = self._graphs.get(size) or self._capture(size)
        host = self._buffers.next()[: self._input_size(size)]
        # Zero ids and positions: numbers from an earlier pack of another size could be invalid
        # ones. Unused rows become empty chunks after the last token.
        host[: 2 * size], host[2 * size :] = 0, len(ids)
        host[: len(ids)] = ids
        host[size : size + len(ids)] = positions
        host[2 * size : 2 * size + len(bounds)] = bounds
        self._buffers.send(graph.inputs)
        graph.replay()
        return graph.logits[: len(chunks)].clone()

    def _size(self, tokens: int) -> int:
        size = self.budget
        while size // 2 >= max(tokens, _SMALLEST_PACK):
            size //= 2
        return size

    def _input_size(self, size: int) -> int:
        """Return how many numbers the ids, positions and bounds of a pack size have."""
        return 2 * size + self.rows + 1

    def _capture(self, size: int) -> _Graph:
        inputs = torch.zeros(self._input_size(size), dtype=torch.int32, device=self.device)
        ids, positions, bounds = inputs[:size], inputs[size : 2 * size], inputs[2 * size :]

        def run() -> Tensor:
            return cast(Tensor, self.bert(ids, positions, bounds))

        try:
            replay, logits = self.capture(run)
        except RuntimeError as error:
            if not _failed_to_compile(error):
                raise
            self._run_uncompiled(error)
            replay, logits = self.capture(run)
        self._graphs[size] = _Graph(inputs, replay, logits)
        return self._graphs[size]

    def _run_uncompiled(self, error: RuntimeError) -> None:
        for layer in self.bert.layers:
            layer._compiled_call_impl = None  # what layer.compile() set
        self.name = self.name.replace("compiled, ", "")
        log.warning("torch.compile failed (%s): the model runs uncompiled, which is slower",
                    type(error).__name__)  # fmt: skip


def _failed_to_compile(error: RuntimeError) -> bool:
    from torch._dynamo.exc import BackendCompilerFailed

    return isinstance(error, BackendCompilerFailed)


class _HostBuffers:
    """Two buffers used in turn: one is filled while the other is still being copied."""

    def __init__(self, size: int, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._buffers = [torch.zeros(size, dtype=torch.int32, pin_memory=on_gpu) for _ in range(2)]
        event: Any = torch.cuda.Event
        self._copied = [event(), event()] if on_gpu else []
        self._turn = 0

    def next(self) -> np.ndarray:
        """Return the buffer to fill, after its previous copy is complete."""
        self._turn = 1 - self._turn
        if self._copied:
            self._copied[self._turn].synchronize()
        return self._buffers[self._turn].numpy()

    def send(self, target: Tensor) -> None:
        """Start copying the first len(target) numbers of the buffer to the device."""
        target.copy_(self._buffers[self._turn][: len(target)], non_blocking=True)
        if self._copied:
            self._copied[self._turn].record()
