"""Linear layers through oneDNN with weights laid out for it once.

torch multiplies fp32 matrices with MKL, which keeps to AVX2 on CPUs that are not Intel's: half
speed or less where they have AVX-512, full speed where AVX2 is all they have.
`torch.set_float32_matmul_precision("medium")` switches to oneDNN, but process-wide, and it permits
bf16 arithmetic where the CPU has matrix units for it. The operator that torch.compile emits for
frozen CPU models has neither drawback: it keeps the operands' precision, takes weights in oneDNN's
own layout, and fuses GELU.
"""

from __future__ import annotations

from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from readmit_spark.scoring.bert import Attend, attend_each

# Tokens a batch that the weight layout is chosen for; any number works.
_TYPICAL_ROWS = 2048


class OneDnnDense(nn.Module):
    """`bert.Dense`, with the weight repacked at construction (a private copy, not shared)."""

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
    # Of the contiguous matrices and transposes that `attend_each` passes; on any other strides
    # oneDNN runs its reference code, 600 times slower.
    y: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return y


attend_onednn: Attend = partial(attend_each, product=_product)


def replace_linears(model: nn.Module) -> None:
    """Swap every nn.Linear of any model for a `OneDnnDense`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and child.bias is not None:
                setattr(parent, name, OneDnnDense(child.weight, child.bias))


def worthwhile() -> bool:
    """Whether oneDNN is the faster one on this CPU in fp32 (see above).

    A rule and no timing: workers that chose by the clock would differ in a score's last bits.
    Measured: twice MKL's speed on a Zen 5 (AVX-512), 0.8 times on a Zen 3 (AVX2).
    """
    return not (torch.backends.mkl.is_available() and capability() == "AVX2")


def capability() -> str:
    """The instructions that torch computes with here: AVX2, AVX512, NEON ..."""
    return torch.backends.cpu.get_cpu_capability()


# The rounding of a product's result: fp32 measured 4e-7, bf16 2e-3.
_TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 5e-3}


@cache
def usable(hidden: int, dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has the operator, for this CPU and dtype, and it is right here, checked
    against float64.

    Multiplies as one layer of the model does ([256, hidden] by [4 * hidden, hidden]) and wants the
    relative error of the dtype: fp32 that is bf16 underneath is found out. False sends the caller
    back to plain torch: it costs speed, never exactness.
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
