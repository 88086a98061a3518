"""Linear layers in int8 on CPUs: weights by output channel, activations by token, at run time.

Products are oneDNN's, which add up in int32 without rounding; with a scale of its own for each token, what a
token becomes depends on nothing beside it. Everything else is float32: biases, residuals, norms, softmax.
oneDNN's fast kernels take unsigned activations, with 128 for 0 (with signed ones it needs seconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rerankbench.engine.operators import int8_rows
from rerankbench.engine.operators.packing import NARROW, ROWS


@dataclass(frozen=True)
class Rows:
    """Activations in int8: `values` uint8 [n, columns], of which `int8_rows.ZERO` is 0, and `scales` [n]."""

    values: Tensor
    scales: Tensor

    @classmethod
    def empty(cls, n: int, columns: int) -> Rows:
        return cls(torch.empty(n, columns, dtype=torch.uint8), torch.empty(n))

    @classmethod
    def of(cls, hidden: Tensor) -> Rows:
        """Of float32 [n, columns]."""
        rows = cls.empty(*hidden.shape)
        int8_rows.quantize(hidden.contiguous().numpy(), *rows.arrays)
        return rows

    @property
    def arrays(self) -> tuple[Any, Any]:
        return self.values.numpy(), self.scales.numpy()

    def take(self, places: Tensor) -> Rows:
        return Rows(self.values.index_select(0, places), self.scales.index_select(0, places))


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8; the plain ones are dropped."""

    weight = None  # T5 looks whether there is one, to cast what it multiplies

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        self.scales = weight.abs().amax(dim=1) / 127
        whole = (weight / self.scales.clamp(min=1e-30)[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(whole, [ROWS, self.in_features])
        self.zeros = torch.zeros(self.out_features, dtype=torch.int32)
        self.bias = bias_of(linear)

    def products(self, rows: Rows) -> Tensor:
        """Products float32 [n, out], without the rows' scales and the bias."""
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows.values, 1.0, int8_rows.ZERO, self.packed, self.scales, self.zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return result

    def multiplied(self, rows: Rows) -> tuple[Any, Any, Any]:
        """What becomes this layer's output in the next step: products, scales and bias, as arrays."""
        return self.products(rows).numpy(), rows.scales.numpy(), self.bias.numpy()

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 [..., in] to [..., out]."""
        rows = Rows.of(inputs.reshape(-1, self.in_features))
        products, scales, bias = self.multiplied(rows)
        int8_rows.rescale(products, scales, bias)
        return torch.from_numpy(products).view(*inputs.shape[:-1], self.out_features)


class Head(nn.Module):
    """A linear layer in float32 whose rows do not depend on how many there are; oneDNN's do, in last bits."""

    weight: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("weight", linear.weight.detach().float().contiguous())
        self.bias = bias_of(linear)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 [..., in] to [..., out]."""
        rows = inputs.reshape(-1, self.in_features).contiguous()
        out = torch.empty(len(rows), self.out_features)
        int8_rows.multiply(rows.numpy(), self.weight.numpy(), self.bias.numpy(), out.numpy())
        return out.view(*inputs.shape[:-1], self.out_features)


def bias_of(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().float().clone()


HEADS = ("pooler", "classifier", "score")  # see one token of each sequence, and decide


def to_int8(model: nn.Module, head: bool = False) -> None:
    """Replace the linear layers below `model`; heads stay float32, and the vocabulary's is never computed."""
    for name, child in list(model.named_children()):
        if name == "lm_head":
            continue
        if not isinstance(child, nn.Linear):
            to_int8(child, head or name in HEADS)
        elif head or name in HEADS or child.out_features < NARROW:
            setattr(model, name, Head(child))
        else:
            setattr(model, name, Int8Linear(child))
