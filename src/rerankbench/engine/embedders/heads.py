"""Linear layers that stand behind an encoder: where folders keep them, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import UserError

Tensors = dict[str, Floats]


def safe_tensors(file: Path, names: Sequence[str]) -> Tensors:
    """Some tensors of a safetensors file as float32, those that it has."""
    with safe_open(file, framework="pt") as held:
        known = set(held.keys())
        return {name: held.get_tensor(name).float().numpy() for name in names if name in known}


def linear(tensors: Tensors, width: int, place: Path, device: str) -> Any:
    """A linear layer over vectors of `width` numbers, in float32. Raises UserError where it does not fit."""
    import torch

    weight, bias = tensors.get("weight"), tensors.get("bias")
    fits = weight is not None and weight.ndim == 2 and weight.shape[1] == width
    if weight is None or not fits or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
        raise UserError(f"{place}: holds {shapes}; a projection of the model's {width} numbers is needed")
    layer = torch.nn.Linear(width, len(weight), bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(torch.from_numpy(weight.copy()).to(device), requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(torch.from_numpy(bias.copy()).to(device), requires_grad=False)
    return layer
