"""Linear layers through oneDNN with weights laid out for it once.

torch multiplies fp32 matrices with MKL, which runs at half speed or less on CPUs that are not
Intel's. `torch.set_float32_matmul_precision("medium")` switches to oneDNN, but process-wide, and it
permits bf16 arithmetic where the CPU has matrix units for it. The operator that torch.compile emits
for frozen CPU models has neither drawback: it keeps the operands' precision, takes weights in
oneDNN's own layout, and fuses GELU.
"""

from __future__ import annotations

from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from readmit_spark.models.bert import Attend, attend_each

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


@cache
def usable(hidden: int) -> bool:
    """Whether this torch has the operator and it is right here, checked against float64.

    Multiplies as one layer of the model does ([256, hidden] by [4 * hidden, hidden]) and wants the
    relative error of true fp32 (measured 4e-7; bf16 arithmetic would give 2e-3). False sends the
    caller back to plain torch: it costs speed, never exactness.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, hidden, generator=generator)
    weight = torch.randn(4 * hidden, hidden, generator=generator) * 0.02
    bias = torch.randn(4 * hidden, generator=generator)
    expected = F.gelu(F.linear(x.double(), weight.double(), bias.double()))
    try:
        with torch.inference_mode():
            error = OneDnnDense(weight, bias, gelu=True)(x).double() - expected
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool(error.norm() <= 5e-6 * expected.norm())
