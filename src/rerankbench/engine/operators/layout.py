"""Sequences end to end, and how attention looks at them there.

Everything but attention sees each token by itself. Attention needs whole sequences: side by side in padded
rows, which works everywhere, or, on GPUs, as they lie.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

varlen: Any
try:
    from torch.nn.attention import varlen
except ImportError:  # torch before 2.10
    varlen = None

WIDTH = 16  # attention over a multiple of it needs no scalar tails, which took half of its time on CPUs
# Rows of products come in multiples: oneDNN compiles each number of rows anew, in 8 ms and 2 MB.
TOKENS = 64
SEQUENCES = 16  # where one token of each sequence is multiplied


@dataclass(frozen=True)
class Layout(ABC):
    """Where the tokens of a batch are: `mask` [n, width] marks the real ones of padded rows.

    `dtype` is that of the vectors.
    """

    mask: Tensor
    dtype: torch.dtype = torch.float32

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

    def pick(self, rows: Tensor) -> Tensor:
        """What is given for each token, in rows [n, width or less], to [tokens]."""
        more = self.mask.shape[1] - rows.shape[1]
        return nn.functional.pad(rows, (0, more)).flatten().index_select(0, self.real)

    @abstractmethod
    def attend(self, joint: Tensor, heads: int) -> Tensor:
        """Queries, keys and values of all tokens [tokens, 3 * hidden] to what they see [tokens, hidden]."""

    @abstractmethod
    def attend_first(self, query: Tensor, joint: Tensor, heads: int) -> Tensor:
        """The same for the first tokens alone: queries [n, hidden], keys and values [tokens, 2 * hidden]."""


class Padded(Layout):
    """Attention over rows as wide as the longest sequence."""

    def attend(self, joint: Tensor, heads: int) -> Tensor:
        query, key, value = split(self.spread(joint), 3, heads)
        context = scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        return self.gather(context.transpose(1, 2)).flatten(1)

    def attend_first(self, query: Tensor, joint: Tensor, heads: int) -> Tensor:
        key, value = split(self.spread(joint), 2, heads)
        (query,) = split(query[:, None], 1, heads)
        context = scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        return context.transpose(1, 2).flatten(1)

    @cached_property
    def bias(self) -> Tensor | None:
        """Which tokens may be seen: [n, 1, 1, width] of zeros and lowest values; None for no padding."""
        if self.full:
            return None
        places = torch.zeros(self.mask.shape, dtype=self.dtype, device=self.mask.device)
        return places.masked_fill_(~self.mask, torch.finfo(self.dtype).min)[:, None, None]


class Ragged(Layout):
    """Attention over sequences as they lie, by FlashAttention (arXiv:2307.08691).

    What makes `tokens` a multiple is one more sequence: its values are finite, whatever they are.
    """

    @cached_property
    def ends(self) -> Tensor:
        """Where sequences end, 0 before: int32 [n + 2]."""
        ends = nn.functional.pad(self.lengths.cumsum(0), (1, 1), value=len(self.real))
        ends[0] = 0
        return ends.int()

    def attend(self, joint: Tensor, heads: int) -> Tensor:
        query, key, value = joint.view(len(joint), 3, heads, -1).unbind(1)
        longest = max(self.mask.shape[1], TOKENS)
        return ragged_attention(query, key, value, self.ends, self.ends, longest, longest)

    def attend_first(self, query: Tensor, joint: Tensor, heads: int) -> Tensor:
        key, value = joint.view(len(joint), 2, heads, -1).unbind(1)
        each = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device)
        query = query.view(len(query), heads, -1)
        return ragged_attention(query, key, value, each, self.ends[:-1], 1, self.mask.shape[1])


def ragged_attention(
    query: Tensor, key: Tensor, value: Tensor, query_ends: Tensor, ends: Tensor, queries: int, longest: int
) -> Tensor:
    """Queries, keys and values [tokens, heads, size] to [tokens of queries, hidden].

    Sequences end at `query_ends` and `ends`, int32 [n + 1] from 0, with `queries` and `longest` tokens at
    most.
    """
    context: Tensor = varlen.varlen_attn(query, key, value, query_ends, ends, queries, longest)
    return context.flatten(1)


def split(rows: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[n, width, parts * hidden] to `parts` times [n, heads, width, size of a head]."""
    separate = rows.view(*rows.shape[:2], parts, heads, -1)
    return tuple(part.transpose(1, 2) for part in separate.unbind(2))


def layout_of(attention_mask: Tensor, dtype: torch.dtype = torch.float32, head: int = 0) -> Layout:
    """The layout of right-padded rows [n, width], widened to a multiple of `WIDTH`.

    `head` is the size of an attention head: FlashAttention takes multiples of 8 up to 256. Where no row has
    padding, rows are faster than sequences as they lie (0.39 to 0.60 ms, 128 x 512 tokens on an H100).
    """
    more = -attention_mask.shape[1] % WIDTH
    padded = Padded(nn.functional.pad(attention_mask, (0, more)).bool(), dtype)
    if takes_ragged(attention_mask.device, dtype) and head in range(8, 257, 8) and not padded.full:
        return Ragged(padded.mask, dtype)
    return padded


def takes_ragged(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch attends to sequences as they lie, on this device and in this precision."""
    if device.type != "cuda" or varlen is None or torch.version.hip is not None:
        return False
    if not torch.backends.cuda.is_flash_attention_available():
        return False
    half = dtype in (torch.float16, torch.bfloat16)
    return half and torch.cuda.get_device_capability(device) >= (8, 0)


def topped_up(places: Tensor, multiple: int) -> Tensor:
    """`places` [n] and as many zeros as make n a multiple."""
    return nn.functional.pad(places, (0, -len(places) % multiple))
