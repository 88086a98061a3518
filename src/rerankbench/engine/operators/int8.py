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
        bias = torch.zeros(self.out_features) if linear.bias is None else linear.bias.detach().float()
        self.bias = bias.clone()

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


HEADS = ("lm_head", "pooler", "classifier", "score")  # see one token of each sequence, and decide


def to_int8(model: nn.Module, keep: tuple[str, ...] = HEADS) -> None:
    """Replace the linear layers below `model`, except narrow ones and those named in `keep`."""
    for name, child in list(model.named_children()):
        if name in keep:
            continue
        if isinstance(child, nn.Linear):
            if child.out_features >= NARROW:
                setattr(model, name, Int8Linear(child))
        else:
            to_int8(child, keep)
