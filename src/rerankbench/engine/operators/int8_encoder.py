"""BERT-like encoders in int8: the layers of `flat_encoder`, with one pass over the rows between products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rerankbench.engine.operators import int8_attention, int8_rows
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
        self.weight, self.shift = norm.weight.detach(), norm.bias.detach()
        self.eps = float(norm.eps)

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
            int8_rows.rescale(products, scales, bias)
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
        joint = self.all.multiplied(hidden.rows)
        return self.feed(self.attend(joint, joint, False, layout, hidden), hidden)

    def attend(self, asked: Any, joint: Any, first: bool, layout: Layout, hidden: Hidden) -> Rows:
        """As in `int8_attention`, a row for each of `hidden`."""
        seen = Rows.empty(*hidden.values.shape)
        spans = layout.starts.numpy(), layout.lengths.numpy()
        int8_attention.attend(asked, joint, first, *spans, self.heads, *seen.arrays)
        return seen

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
        first = hidden.take(topped_up(layout.starts, SEQUENCES))
        asked, joint = self.query.multiplied(first.rows), self.keys.multiplied(hidden.rows)
        return self.feed(self.attend(asked, joint, True, layout, first), first)


class Int8Encoder(FlatEncoder):
    """A `FlatEncoder` in int8; its embeddings and its pooler stay in float32."""

    every, first = Int8Layer, FirstTokenInt8Layer

    def climb(self, hidden: Tensor, layout: Layout) -> Tensor:
        state = Hidden(hidden, Rows.of(hidden))
        for layer in (*self.layers, self.last):
            state = layer(state, layout)
        return state.values[: len(layout.starts)] if self.first_only else state.values
