"""Linear layers laid out once for the CPU's matrix instructions, instead of at every call.

oneDNN multiplies fastest with weights in blocks that suit the instruction set. torch keeps weights plain and
reorders them inside every call (or falls back to a slower kernel); torch.compile packs them once, and so
does this, with the same two operators, without compiling anything. The products are the same up to the order
of summation.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

# oneDNN keeps what it compiled for the last so many shapes, each about 2 MB; by default 1024.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

ROWS = 4096  # tokens that a call usually has: blocks are chosen for that, any number works
NARROW = 16  # outputs below which blocks do not pay: scoring heads


class PackedLinear(nn.Module):
    """A linear layer with packed weights; the plain ones are dropped, so memory does not grow."""

    weight = None  # T5 looks whether there is one, to cast what it multiplies

    def __init__(self, linear: nn.Linear, activation: str = "none") -> None:
        """`activation`: none, or gelu (the exact one), applied while the products are still in the cache."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias, self.activation = linear.bias, activation
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)

    def forward(self, inputs: Tensor) -> Tensor:
        algorithm = "none" if self.activation == "gelu" else ""  # no tanh approximation
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self.packed, self.bias, self.activation, [], algorithm
        )

    def added_to(self, residual: Tensor, inputs: Tensor) -> Tensor:
        """residual + forward(inputs), added before the products are rounded."""
        return torch.ops.mkldnn._linear_pointwise.binary(inputs, residual, self.packed, self.bias, "add")


@cache
def packable() -> bool:
    """Whether this torch has the operators and this CPU gains from them."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def pack(model: nn.Module, keep: tuple[str, ...] = ("lm_head",)) -> None:
    """Replace the linear layers below `model`, except narrow ones and those named in `keep`."""
    with torch.inference_mode():
        for name, child in list(model.named_children()):
            if name in keep:
                continue
            if isinstance(child, nn.Linear):
                setattr(model, name, packed(child))
            else:
                pack(child, keep)


def packed(linear: nn.Linear) -> nn.Module:
    """A packed layer in place of `linear`, or `linear` itself where packing does not pay."""
    return PackedLinear(linear) if pays(linear) else linear


def pays(linear: nn.Linear) -> bool:
    return linear.weight.device.type == "cpu" and linear.out_features >= NARROW and packable()


def activated(linear: nn.Linear, activation: Any) -> tuple[nn.Module, Any]:
    """`linear` and what is left to do after it: nothing where it applies the exact GELU by itself."""
    if pays(linear) and type(activation).__name__ == "GELUActivation":
        return PackedLinear(linear, "gelu"), nn.Identity()
    return packed(linear), activation


def added(linear: nn.Module, inputs: Tensor, residual: Tensor) -> Tensor:
    """residual + linear(inputs)."""
    if isinstance(linear, PackedLinear):
        return linear.added_to(residual, inputs)
    return residual + linear(inputs)
