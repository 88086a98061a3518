"""BERT-like encoders without padding: the sequences of a batch lie end to end.

Products, norms and activations see real tokens only; attention alone needs sequences side by side. Queries,
keys and values come out of one product, residuals are added inside the products, and where only the first
token is read afterwards (classification heads, BGE's embeddings) the last layer is computed for it alone:
almost a twelfth of the work of 12 layers. Scores are the same up to the order of summation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from rerankbench.engine.operators.fusing import FLAT
from rerankbench.engine.operators.layout import SEQUENCES, Layout, layout_of, topped_up
from rerankbench.engine.operators.packing import activated, added, packed

PLAIN = {"BertLayer", "RobertaLayer", "XLMRobertaLayer"}  # one self-attention, then one feed-forward


class FlatLayer(nn.Module):
    """One layer of a BERT-like encoder: [tokens, hidden] to the same."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.heads: int = layer.attention.self.num_attention_heads
        self.project(layer.attention.self)
        output = layer.attention.output
        self.context, self.attention_norm = packed(output.dense), output.LayerNorm
        self.up, self.activation = activated(layer.intermediate.dense, layer.intermediate.intermediate_act_fn)
        self.down, self.norm = packed(layer.output.dense), layer.output.LayerNorm

    def project(self, attention: Any) -> None:
        """Take over what makes queries, keys and values."""
        self.all = packed(joined(attention.query, attention.key, attention.value))

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        return self.feed(layout.attend(self.all(hidden), self.heads), hidden)

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

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        joint = self.keys(hidden)
        hidden = hidden.index_select(0, topped_up(layout.starts, SEQUENCES))
        n, more = len(layout.starts), -len(layout.starts) % SEQUENCES
        context = layout.attend_first(self.query(hidden)[:n], joint, self.heads)
        return self.feed(nn.functional.pad(context, (0, 0, 0, more)), hidden)[:n]


class FlatEncoder(nn.Module):
    """Takes the place of a BERT-like model below its head, with the same inputs and outputs.

    `first_only`: the last hidden states are those of the first token, [n, 1, hidden].
    """

    # what takes the place of a layer, and of the last one where its first tokens are all that is read
    every: type[nn.Module] = FlatLayer
    first: type[nn.Module] = FirstTokenLayer

    def __init__(self, model: Any, first_only: bool) -> None:
        super().__init__()
        self.config, self.embeddings, self.pooler = model.config, model.embeddings, model.pooler
        *lower, last = model.encoder.layer
        self.layers = nn.ModuleList(self.every(layer) for layer in lower)
        self.last = self.first(last) if first_only else self.every(last)
        self.first_only = first_only
        # what attention of other kinds is computed by would not be told by what scores are stored under
        ragged = self.config.model_type in FLAT
        self.head = self.config.hidden_size // self.config.num_attention_heads if ragged else 0

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPooling:
        layout = layout_of(attention_mask, self.attention_dtype, self.head)
        last = self.climb(self.embed(layout, input_ids, token_type_ids), layout)
        last = last[:, None] if self.first_only else layout.spread(last)[:, : input_ids.shape[1]]
        pooled = self.pooler(last) if self.pooler is not None else None
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=pooled)

    @property
    def attention_dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.embeddings.word_embeddings.weight.dtype
        return dtype

    def climb(self, hidden: Tensor, layout: Layout) -> Tensor:
        """What the last layer makes of token embeddings [tokens, hidden]."""
        for layer in self.layers:
            hidden = layer(hidden, layout)
        last: Tensor = self.last(hidden, layout)
        return last

    def embed(self, layout: Layout, ids: Tensor, types: Tensor | None) -> Tensor:
        """Token embeddings: [tokens, hidden]."""
        types = torch.zeros_like(ids) if types is None else types
        parts = {"input_ids": ids, "token_type_ids": types, "position_ids": self.positions(ids)}
        flat: Tensor = self.embeddings(**{name: layout.pick(part)[None] for name, part in parts.items()})
        return flat[0]

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


def flatten(model: Any, first_only: bool, kind: type[FlatEncoder] = FlatEncoder) -> Any:
    """`model` with its BERT-like part replaced by a `FlatEncoder`; other models come back as they are."""
    body = model.base_model
    if not is_plain(body):
        return model
    with torch.inference_mode():
        flat = kind(body, first_only)
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
