"""BERT-like encoders in int8: the layers of `flat_encoder` with their steps between products in one pass each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rerankbench.engine.operators import int8_rows
from rerankbench.engine.operators.flat_encoder import FlatEncoder, joined
from rerankbench.engine.operators.int8 import Int8Linear, Rows
from rerankbench.engine.operators.layout import SEQUENCES, Layout, topped_up


@dataclass(frozen=True)
class Hidden:
    """What goes from layer to layer: float32 [tokens, hidden] for the residuals, int8 for the products."""

    values: Tensor
    rows: Rows

    def take(self, places: Tensor) -> Hidden:
        return Hidden(self.values.index_select(0, places), self.rows.take(places))


class Norm(nn.Module):
    """The end of a block: a product, its residual and the norm of their sum."""

    def __init__(self, linear: nn.Linear, norm: Any) -> None:
        super().__init__()
        self.linear = Int8Linear(linear)
        self.weight, self.shift, self.eps = norm.weight, norm.bias, float(norm.eps)

    def forward(self, rows: Rows, hidden: Hidden) -> Hidden:
        """Writes into `hidden`, which nobody reads again."""
        found = Rows.empty(*hidden.values.shape)
        int8_rows.add_norm_quantize(
            *self.linear.multiplied(rows), hidden.values.numpy(), self.weight.numpy(), self.shift.numpy(),
            self.eps, *found.arrays,
        )  # fmt: skip
        return Hidden(hidden.values, found)


class FeedForward(nn.Module):
    """The product before the activation, with it: int8 to int8."""

    def __init__(self, linear: nn.Linear, activation: Any) -> None:
        super().__init__()
        self.linear, self.activation = Int8Linear(linear), activation
        self.exact = type(activation).__name__ == "GELUActivation"

    def forward(self, rows: Rows) -> Rows:
        if not self.exact:
            products, scales, bias = self.linear.multiplied(rows)
            int8_rows.rescale(products, scales, bias, products)
            return Rows.of(self.activation(torch.from_numpy(products)))
        found = Rows.empty(len(rows.values), self.linear.out_features)
        int8_rows.gelu_quantize(*self.linear.multiplied(rows), *found.arrays)
        return found


class Int8Layer(nn.Module):
    """One layer of a BERT-like encoder."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.heads: int = layer.attention.self.num_attention_heads
        self.project(layer.attention.self)
        output = layer.attention.output
        self.context = Norm(output.dense, output.LayerNorm)
        self.up = FeedForward(layer.intermediate.dense, layer.intermediate.intermediate_act_fn)
        self.down = Norm(layer.output.dense, layer.output.LayerNorm)

    def project(self, attention: Any) -> None:
        self.all = Int8Linear(joined(attention.query, attention.key, attention.value))

    def forward(self, hidden: Hidden, layout: Layout) -> Hidden:
        rows = spread(self.all, hidden.rows, layout)
        context = layout.context(rows, self.heads).flatten(0, 1).flatten(1)
        return self.feed(gathered(context, layout.real), hidden)

    def feed(self, context: Rows, hidden: Hidden) -> Hidden:
        hidden = self.context(context, hidden)
        found: Hidden = self.down(self.up(hidden.rows), hidden)
        return found


class FirstTokenInt8Layer(Int8Layer):
    """A layer whose output is that of each sequence's first token."""

    def project(self, attention: Any) -> None:
        self.query = Int8Linear(attention.query)
        self.keys = Int8Linear(joined(attention.key, attention.value))

    def forward(self, hidden: Hidden, layout: Layout) -> Hidden:
        joint = spread(self.keys, hidden.rows, layout)
        first = hidden.take(topped_up(layout.starts, SEQUENCES))
        query = laid(self.query, first.rows, torch.arange(len(layout.starts)), layout.dtype)
        context = layout.context_of(query, joint, self.heads)
        return self.feed(gathered(context, topped_up(torch.arange(len(context)), SEQUENCES)), first)


def spread(linear: Int8Linear, rows: Rows, layout: Layout) -> Tensor:
    """The layer's output in padded rows [n, width, out]."""
    return laid(linear, rows, layout.padded, layout.dtype).view(*layout.mask.shape, -1)


def laid(linear: Int8Linear, rows: Rows, places: Tensor, dtype: torch.dtype) -> Tensor:
    """The layer's output at these `places` [m], in the precision of attention: [m, out]."""
    out = torch.empty(len(places), linear.out_features, dtype=dtype)
    if dtype == torch.bfloat16:
        int8_rows.rescale_to_halves(*linear.multiplied(rows), places.numpy(), out.view(torch.uint16).numpy())
    else:
        int8_rows.rescale_to_rows(*linear.multiplied(rows), places.numpy(), out.numpy())
    return out


def gathered(context: Tensor, places: Tensor) -> Rows:
    """The rows `places` [m] of what attention saw [any, hidden], in int8."""
    if context.dtype != torch.bfloat16:
        return Rows.of(context.index_select(0, places))
    rows = Rows.empty(len(places), context.shape[1])
    int8_rows.quantize_halves(context.view(torch.uint16).numpy(), places.numpy(), *rows.arrays)
    return rows


class Int8Encoder(FlatEncoder):
    """A `FlatEncoder` in int8; its embeddings and its pooler stay in float32."""

    every, first = Int8Layer, FirstTokenInt8Layer

    def climb(self, hidden: Tensor, layout: Layout) -> Tensor:
        state = Hidden(hidden, Rows.of(hidden))
        for layer in (*self.layers, self.last):
            state = layer(state, layout)
        return state.values[: len(layout.starts)] if self.first_only else state.values
