"""BERT with one logit, for inference: no padding, and no work that the logit does not need.

The same function as transformers' BertForSequenceClassification in eval mode, computed on chunks
laid end to end. Two things are left out because the result does not depend on them: padding, and
in the last layer every row but [CLS] (only its output reaches the pooler; the other tokens are keys
and values there). On 12 layers the second saves 7 % of the arithmetic, on 6 layers 14 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertForSequenceClassification, PreTrainedModel

# q [Tq, heads, d], k and v [T, heads, d], bounds of the chunks in q and in k -> [Tq, heads, d]
Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Dense(nn.Module):
    """x @ weight.T + bias, then GELU where asked."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y


class PackedBert(nn.Module):
    """P(readmit)'s logit for chunks laid end to end.

    model: one that `fits`. attend: attention within each chunk. dense: how a linear layer is
    computed (`Dense` or one with its signature). Weights keep the model's dtype and device.
    """

    def __init__(
        self,
        model: Any,  # transformers' modules are untyped
        attend: Attend,
        dense: Callable[..., nn.Module] = Dense,
    ) -> None:
        super().__init__()
        self.embeddings = model.bert.embeddings
        layers = [_Layer(layer, attend, dense) for layer in model.bert.encoder.layer]
        self.layers = nn.ModuleList(layers)
        self.pooler = model.bert.pooler
        self.classifier = model.classifier

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether `model` is the plain BERT that this module computes."""
        config = model.config
        return (
            isinstance(model, BertForSequenceClassification)
            and config.hidden_act == "gelu"
            and not config.is_decoder
            and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        )

    def forward(self, ids: Tensor, positions: Tensor, bounds: Tensor) -> Tensor:
        """ids, positions: int [T]; bounds: int32 [rows + 1], as `batching.pack` makes them.

        Returns logits [rows] in the model's dtype. A chunk of no tokens yields an arbitrary logit.
        """
        hidden = self.embeddings(ids[None].long(), position_ids=positions[None].long())[0]
        for layer in self.layers[:-1]:
            hidden = layer(hidden, hidden, bounds, bounds)
        # The clamp is for empty chunks after the last token.
        cls = hidden[bounds[:-1].long().clamp(max=len(hidden) - 1)]
        one_each = torch.arange(len(bounds), dtype=bounds.dtype, device=bounds.device)
        cls = self.layers[-1](cls, hidden, one_each, bounds)
        logits: Tensor = self.classifier(self.pooler(cls[:, None]))[:, 0]
        return logits


class _Layer(nn.Module):
    def __init__(self, layer: Any, attend: Attend, dense: Callable[..., nn.Module]) -> None:
        super().__init__()
        attention = layer.attention.self
        self.heads = attention.num_attention_heads
        self.attend = attend
        query, key, value = attention.query, attention.key, attention.value
        self.query = dense(query.weight, query.bias)
        self.key_value = dense(
            torch.cat([key.weight, value.weight]), torch.cat([key.bias, value.bias])
        )
        self.mix = dense(layer.attention.output.dense.weight, layer.attention.output.dense.bias)
        self.norm_mix = layer.attention.output.LayerNorm
        self.widen = dense(
            layer.intermediate.dense.weight, layer.intermediate.dense.bias, gelu=True
        )
        self.narrow = dense(layer.output.dense.weight, layer.output.dense.bias)
        self.norm_out = layer.output.LayerNorm

    def forward(self, x: Tensor, context: Tensor, x_bounds: Tensor, bounds: Tensor) -> Tensor:
        """Rows x [Tq, hidden] attend to their chunk's tokens in context [T, hidden]."""
        q = self.query(x).unflatten(-1, (self.heads, -1))
        k, v = self.key_value(context).unflatten(-1, (2, self.heads, -1)).unbind(1)
        mixed = self.attend(q, k, v, x_bounds, bounds).flatten(1)
        x = self.norm_mix(self.mix(mixed) + x)
        out: Tensor = self.norm_out(self.narrow(self.widen(x)) + x)
        return out


def attend_each(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_bounds: Tensor,
    bounds: Tensor,
    *,
    product: Callable[[Tensor, Tensor], Tensor] = F.linear,
) -> Tensor:
    """softmax(q k.T / sqrt(d)) v, chunk by chunk and head by head.

    One head's scores stay in the CPU's second-level cache, and one at a time is faster than torch's
    fused attention there. product(a, b) = a @ b.T; its operands are contiguous matrices or
    transposes of such.
    """
    out = torch.empty_like(q)
    q_ends, ends = q_bounds.tolist(), bounds.tolist()
    scale = q.shape[-1] ** -0.5
    for q0, q1, k0, k1 in zip(q_ends, q_ends[1:], ends, ends[1:], strict=False):
        queries = q[q0:q1].transpose(0, 1).contiguous().mul_(scale)
        keys = k[k0:k1].transpose(0, 1).contiguous()
        values = v[k0:k1].transpose(0, 1).contiguous().transpose(1, 2)
        for head in range(q.shape[1]):
            weights = product(queries[head], keys[head]).softmax(-1)
            out[q0:q1, head] = product(weights, values[head])
    return out
