"""The last layer of an encoder, computed for the first token alone where nothing else is read from it.

Classification heads and BGE's embeddings read the first token. The last layer's other tokens serve it as
keys and values only: their queries, feed-forward and norms need not be computed, almost a twelfth of the work
of a model of 12 layers. The score is the same up to the order of summation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

PLAIN = {"BertLayer", "RobertaLayer", "XLMRobertaLayer"}  # one self-attention, then one feed-forward


class FirstTokenLayer(nn.Module):
    """A layer [n, width, hidden] to [n, 1, hidden]: attention of the first token to all."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, hidden: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
    ) -> tuple[Tensor]:
        layer: Any = self.layer
        first = hidden[:, :1]
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        context = layer.attention.self(first, attention_mask=mask, encoder_hidden_states=hidden)[0]
        return (layer.feed_forward_chunk(layer.attention.output(context, first)),)


def keep_first_token(model: Any) -> None:
    """Put a `FirstTokenLayer` in the place of an encoder's last layer; others stay as they are."""
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if layers is not None and type(layers[-1]).__name__ in PLAIN:
        layers[-1] = FirstTokenLayer(layers[-1])
