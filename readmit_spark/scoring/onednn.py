"""Linear layers computed by oneDNN, with weights in its own layout.

torch multiplies fp32 matrices with MKL. On CPUs of other makers than Intel, MKL uses AVX2 only, so
a CPU with AVX-512 runs at half its speed or less.
`torch.set_float32_matmul_precision("medium")` switches to oneDNN, but for the whole process, and it
permits bf16 arithmetic on CPUs with bf16 matrix units. The operator that torch.compile emits for
frozen CPU models has neither drawback: it keeps the precision of its operands, takes weights in
oneDNN's layout, and fuses GELU.
"""

from __future__ import annotations

from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from readmit_spark.scoring.bert import Attend, attend_each

# Tokens per batch for which the weight layout is optimised; the result is the same for any number.
_TYPICAL_ROWS = 2048


class OneDnnDense(nn.Module):
    """Same as `bert.Dense`, with a private copy of the weight in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _TYPICAL_ROWS)
        self.bias = bias.detach()
        self.activation = ("gelu", "none") if gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        name, kind = self.activation
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, name, [], kind)
        return y


def _product(a: Tensor, b: Tensor) -> Tensor:
    # `attend_each` passes contiguous matrices and transposes of such. For any other strides oneDNN
    # runs its reference code, which is 600 times slower.
    y: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return y


attend_onednn: Attend = partial(attend_each, product=_product)


def replace_linears(model: nn.Module) -> None:
    """Replace every nn.Linear with a bias in any model by a `OneDnnDense`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and child.bias is not None:
                setattr(parent, name, OneDnnDense(child.weight, child.bias))


def is_faster() -> bool:
    """Return whether oneDNN is faster than torch's default on this CPU in fp32.

    A fixed rule instead of a timing: workers whose timings differ would compute probabilities that
    differ in the last bits. Measured: twice MKL's speed on a Zen 5 (AVX-512), 0.8 times on a Zen 3
    (AVX2).
    """
    return not (torch.backends.mkl.is_available() and cpu_capability() == "AVX2")


def cpu_capability() -> str:
    """Return the instruction set that torch uses on this CPU: AVX2, AVX512, NEON ..."""
    return torch.backends.cpu.get_cpu_capability()


# Largest accepted relative error of a layer; measured: 4e-7 in fp32, 2e-3 in bf16.
_TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 5e-3}


@cache
def is_usable(hidden: int, dtype: torch.dtype = torch.float32) -> bool:
    """Return whether this torch has the operator for this CPU and dtype, with correct results.

    Compares one layer of a model ([256, hidden] by [4 * hidden, hidden]) with float64. The error
    must fit the dtype, so an fp32 operator that computes in bf16 is rejected.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, hidden, generator=generator).to(dtype)
    weight = (torch.randn(4 * hidden, hidden, generator=generator) * 0.02).to(dtype)
    bias = torch.randn(4 * hidden, generator=generator).to(dtype)
    expected = F.gelu(F.linear(x.double(), weight.double(), bias.double()))
    try:
        with torch.inference_mode():
            error = OneDnnDense(weight, bias, gelu=True)(x).double() - expected
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool(error.norm() <= _TOLERANCE[dtype] * expected.norm())
