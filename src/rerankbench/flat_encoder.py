"""BERT-like encoders without padding: the sequences of a batch lie end to end.

Products, norms and activations see real tokens only; attention alone needs sequences side by side. Queries,
keys and values come out of one product, residuals are added inside the products, and where only the first
token is read afterwards (classification heads, BGE's embeddings) the last layer is computed for it alone:
almost a twelfth of the work of 12 layers. Scores are the same up to the order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPooling

from rerankbench.packing import activated, added, packed

PLAIN = {"BertLayer", "RobertaLayer", "XLMRobertaLayer"}  # one self-attention, then one feed-forward
WIDTH = 16  # attention over a multiple of it needs no scalar tails, which took half of its time on CPUs
# Rows of products come in multiples: oneDNN compiles each number of rows anew, in 8 ms and 2 MB.
TOKENS = 64
SEQUENCES = 16


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch are: `mask` [n, width] marks the real ones of padded rows."""

    mask: Tensor

    @cached_property
    def lengths(self) -> Tensor:
        return self.mask.sum(dim=1)

    @cached_property
    def real(self) -> Tensor:
        """Places of the real tokens in the padded rows, end to end: [tokens].

        Some more follow, to make `tokens` a multiple: nobody reads what becomes of them.
        """
        return topped_up(self.mask.flatten().nonzero()[:, 0], TOKENS)

    @cached_property
    def starts(self) -> Tensor:
        """Where each sequence begins when they lie end to end: [n]."""
        return self.lengths.cumsum(0) - self.lengths

    @cached_property
    def padded(self) -> Tensor:
        """For each place of the padded rows a token: its own, or any, which is then masked. [n * width]"""
        places = self.starts[:, None] + torch.arange(self.mask.shape[1], device=self.mask.device)
        return places.clamp(max=len(self.real) - 1).flatten()

    @cached_property
    def full(self) -> bool:
        """Whether no row has padding."""
        return bool(self.mask.all())

    @cached_property
    def whole(self) -> bool:
        """Whether padded rows and tokens end to end are the same."""
        return self.full and len(self.real) == self.mask.numel()

    def spread(self, flat: Tensor) -> Tensor:
        """[tokens, size] to [n, width, size]; padding holds other tokens."""
        rows = flat if self.whole else flat.index_select(0, self.padded)
        return rows.view(*self.mask.shape, -1)

    def gather(self, rows: Tensor) -> Tensor:
        """[n, width, ...] to [tokens, ...]."""
        flat = rows.flatten(0, 1)
        return flat if self.whole else flat.index_select(0, self.real)

    def bias(self, dtype: torch.dtype) -> Tensor | None:
        """What attention adds so that no token sees padding: [n, 1, 1, width], None for no padding."""
        if self.full:
            return None
        hidden = torch.zeros(self.mask.shape, dtype=dtype, device=self.mask.device)
        return hidden.masked_fill_(~self.mask, torch.finfo(dtype).min)[:, None, None]


def layout_of(attention_mask: Tensor) -> Layout:
    """The layout of right-padded rows [n, width], widened to a multiple of `WIDTH`."""
    more = -attention_mask.shape[1] % WIDTH
    return Layout(nn.functional.pad(attention_mask, (0, more)).bool())


def topped_up(places: Tensor, multiple: int) -> Tensor:
    """`places` [n] and as many zeros as make n a multiple."""
    return nn.functional.pad(places, (0, -len(places) % multiple))


class FlatLayer(nn.Module):
    """One layer of a BERT-like encoder: [tokens, hidden] to the same."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.heads: int = layer.attention.self.num_attention_heads
        self.project(layer.attention.self)
        self.context, self.attention_norm = (
            packed(layer.attention.output.dense),
            layer.attention.output.LayerNorm,
        )
        self.up, self.activation = activated(layer.intermediate.dense, layer.intermediate.intermediate_act_fn)
        self.down, self.norm = packed(layer.output.dense), layer.output.LayerNorm

    def project(self, attention: Any) -> None:
        """Take over what makes queries, keys and values."""
        self.all = packed(joined(attention.query, attention.key, attention.value))

    def forward(self, hidden: Tensor, layout: Layout, bias: Tensor | None) -> Tensor:
        query, key, value = self.split(layout.spread(self.all(hidden)), 3)
        context = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.feed(layout.gather(context.transpose(1, 2)).flatten(1), hidden)

    def split(self, rows: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[n, width, parts * hidden] to `parts` times [n, heads, width, size of a head]."""
        separate = rows.view(*rows.shape[:2], parts, self.heads, -1)
        return tuple(part.transpose(1, 2) for part in separate.unbind(2))

    def feed(self, context: Tensor, hidden: Tensor) -> Tensor:
        """What follows attention: both residuals, both norms and the feed-forward block."""
        hidden = self.attention_norm(added(self.context, context, hidden))
        return self.norm(added(self.down, self.activation(self.up(hidden)), hidden))


class FirstTokenLayer(FlatLayer):
    """A layer whose output is that of each sequence's first token: [tokens, hidden] to [n, hidden].

    The other tokens serve it as keys and values only.
    """

    def project(self, attention: Any) -> None:
        self.query, self.keys = packed(attention.query), packed(joined(attention.key, attention.value))

    def forward(self, hidden: Tensor, layout: Layout, bias: Tensor | None) -> Tensor:
        key, value = self.split(layout.spread(self.keys(hidden)), 2)
        hidden = hidden.index_select(0, topped_up(layout.starts, SEQUENCES))
        n, more = len(layout.starts), -len(layout.starts) % SEQUENCES
        (query,) = self.split(self.query(hidden)[:n, None], 1)
        context = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        context = nn.functional.pad(context.transpose(1, 2).flatten(1), (0, 0, 0, more))
        return self.feed(context, hidden)[:n]


class FlatEncoder(nn.Module):
    """Takes the place of a BERT-like model below its head, with the same inputs and outputs.

    `first_only`: the last hidden states are those of the first token, [n, 1, hidden].
    """

    def __init__(self, model: Any, first_only: bool) -> None:
        super().__init__()
        self.config, self.embeddings, self.pooler = model.config, model.embeddings, model.pooler
        *lower, last = model.encoder.layer
        self.layers = nn.ModuleList(FlatLayer(layer) for layer in lower)
        self.last = FirstTokenLayer(last) if first_only else FlatLayer(last)
        self.first_only = first_only

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        layout = layout_of(attention_mask)
        hidden = self.embed(input_ids, attention_mask, token_type_ids)
        bias = layout.bias(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, layout, bias)
        last = self.last(hidden, layout, bias)
        last = last[:, None] if self.first_only else layout.spread(last)[:, : input_ids.shape[1]]
        pooled = self.pooler(last) if self.pooler is not None else None
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=pooled)

    def embed(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Token embeddings of the real tokens: [tokens, hidden]."""
        types = torch.zeros_like(ids) if types is None else types
        parts = {"input_ids": ids, "token_type_ids": types, "position_ids": self.positions(ids)}
        real = mask.bool()
        return self.embeddings(**{name: topped_up(part[real], TOKENS)[None] for name, part in parts.items()})[
            0
        ]

    def positions(self, ids: Tensor) -> Tensor:
        """RoBERTa counts from behind its padding token, leaving such tokens out; BERT counts from 0."""
        padding = getattr(self.embeddings, "padding_idx", None)
        if padding is None:
            return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        counted = ids != padding
        return counted.cumsum(dim=1) * counted + padding


def joined(*linears: nn.Linear) -> nn.Linear:
    """Linear layers over the same inputs as one."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    one = nn.Linear(weight.shape[1], len(weight), device="meta")
    one.weight = nn.Parameter(weight, requires_grad=False)
    one.bias = nn.Parameter(torch.cat([linear.bias.detach() for linear in linears]), requires_grad=False)
    return one


def flatten(model: Any, first_only: bool) -> Any:
    """`model` with its BERT-like part replaced by a `FlatEncoder`; other models come back as they are."""
    body = model.base_model
    if not is_plain(body):
        return model
    with torch.inference_mode():
        flat = FlatEncoder(body, first_only)
    if body is model:
        return flat
    setattr(model, model.base_model_prefix, flat)
    return model


def is_plain(body: Any) -> bool:
    """Whether a model is a BERT, RoBERTa or XLM-RoBERTa as transformers builds them, with plain attention."""
    layers = getattr(getattr(body, "encoder", None), "layer", None)
    if not layers or type(layers[0]).__name__ not in PLAIN:
        return False
    config = body.config
    own = type(layers[0]).__module__.startswith("transformers.models.")  # not a model folder's own code
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    usual = not config.is_decoder and not config.chunk_size_feed_forward
    return own and absolute and usual and config._attn_implementation == "sdpa"
