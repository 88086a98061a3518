"""Decoders whose last layer feeds forward the last position of each sequence alone: nothing else is read.

The feed-forward block is nine tenths of each of the 18 layers of bge-reranker-v2-gemma.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from rerankbench.engine.operators.fused import GATED, FusedFeedForward
from rerankbench.engine.operators.layout import SEQUENCES, topped_up

# Tokens of each sequence of the forward pass in this thread; None where all positions are wanted.
wanted: ContextVar[Tensor | None] = ContextVar("wanted", default=None)


@contextmanager
def last_positions(lengths: Tensor) -> Iterator[None]:
    """Inside, only the last positions of right-padded rows [n, width] are read: lengths [n]."""
    token = wanted.set(lengths)
    try:
        yield
    finally:
        wanted.reset(token)


def narrow(body: Any, layer: int) -> None:
    """Make the last `layer` that is read of a decoder `body` feed forward what is wanted alone."""
    layers: Any = getattr(body, "layers", None)  # some decoders call them otherwise, and stay as they are
    block: Any = getattr(layers[layer], "mlp", None) if layers else None
    if type(block).__name__ in GATED or isinstance(block, FusedFeedForward):
        layers[layer].mlp = LastPosition(block)


class LastPosition(nn.Module):
    """A feed-forward block, [n, width, hidden] to the same; zeros where nothing is wanted."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden: Tensor) -> Tensor:
        lengths = wanted.get()
        if lengths is None:
            return self.block(hidden)
        places = last_places(lengths, hidden.shape[1])
        rows = hidden.flatten(0, 1).index_select(0, topped_up(places, SEQUENCES))
        whole = torch.zeros_like(hidden)
        whole.flatten(0, 1).index_copy_(0, places, self.block(rows)[: len(places)])
        return whole


def last_places(lengths: Tensor, width: int) -> Tensor:
    """Where last tokens are when rows of `width` lie end to end: [n]."""
    return torch.arange(len(lengths), device=lengths.device) * width + lengths - 1
