"""What stands between int8 products, compiled: activations to int8 and back, with GELU, residuals and norms.

Each function walks the rows once and keeps a row in the processor's first cache; the same in torch's own
operators reads and writes all rows six times, which takes longer than the products save. Every row is
computed by itself, in float32, so nothing depends on the rows beside it.

A row [columns] of float32 values becomes bytes and one scale: value = scale * (byte - 128), where the largest
magnitude is 127. A row that holds a NaN or an infinity has such a scale, so that it stays visible.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`function` as machine code, kept on disk for later processes; other threads run beside it.

    Sums of a row may be reordered and products fused with sums, which vectorizes them; NaNs are kept.
    """
    loose = {"reassoc", "contract", "arcp", "nsz"}
    made: Any = numba.njit(nogil=True, cache=True, fastmath=loose, error_model="numpy")(function)
    return cast(F, made)


ZERO = 128  # the byte that stands for 0
SMALLEST = np.float32(1e-30)  # rows of nothing larger are zeros: 127 / the largest magnitude has to be finite


@compiled
def quantize(rows: Floats, values: Bytes, scales: Floats) -> None:
    """Rows float32 [n, columns] to `values` uint8 [n, columns] and `scales` float32 [n]."""
    for i in range(rows.shape[0]):
        row = rows[i]
        top = np.int32(0)
        for j in range(row.size):
            top = max(top, magnitude(row[j]))
        scales[i] = bytes_of(row, top, values[i])


@compiled
def gelu_quantize(products: Floats, scales: Floats, bias: Floats, values: Bytes, new_scales: Floats) -> None:
    """gelu(scale * product + bias), quantized: products float32 [n, columns]."""
    row = np.empty(products.shape[1], np.float32)
    for i in range(products.shape[0]):
        product, scale = products[i], scales[i]
        top = np.int32(0)
        for j in range(row.size):
            row[j] = gelu(product[j] * scale + bias[j])
            top = max(top, magnitude(row[j]))
        new_scales[i] = bytes_of(row, top, values[i])


@compiled
def add_norm_quantize(
    products: Floats,
    scales: Floats,
    bias: Floats,
    hidden: Floats,
    weight: Floats,
    shift: Floats,
    eps: float,
    values: Bytes,
    new_scales: Floats,
) -> None:
    """norm(hidden + scale * product + bias), float32 [n, columns], into `hidden`, and quantized."""
    columns = hidden.shape[1]
    share = np.float32(1 / columns)
    row = np.empty(columns, np.float32)
    for i in range(hidden.shape[0]):
        product, scale, kept = products[i], scales[i], hidden[i]
        total = np.float32(0)
        for j in range(columns):
            row[j] = product[j] * scale + bias[j] + kept[j]
            total += row[j]
        mean = total * share
        squares = np.float32(0)
        for j in range(columns):
            row[j] -= mean
            squares += row[j] * row[j]
        factor = np.float32(1) / np.float32(math.sqrt(squares * share + eps))
        top = np.int32(0)
        for j in range(columns):
            kept[j] = row[j] * factor * weight[j] + shift[j]
            top = max(top, magnitude(kept[j]))
        new_scales[i] = bytes_of(kept, top, values[i])


@compiled
def rescale(products: Floats, scales: Floats, bias: Floats) -> None:
    """scale * product + bias: float32 [n, columns], in place."""
    for i in range(products.shape[0]):
        row, scale = products[i], scales[i]
        for j in range(row.size):
            row[j] = row[j] * scale + bias[j]


@compiled
def multiply(rows: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """rows @ weight.T + bias in float32, each row summed up alike whatever is beside it."""
    for i in range(rows.shape[0]):
        row = rows[i]
        for k in range(weight.shape[0]):
            own, total = weight[k], np.float32(0)
            for j in range(row.size):
                total += row[j] * own[j]
            out[i, k] = total + bias[k]


@compiled
def magnitude(value: Any) -> Any:
    """The bits of a float32 without its sign, int32: ordered as magnitudes are, NaN above infinity."""
    return np.float32(value).view(np.int32) & np.int32(0x7FFFFFFF)


@compiled
def bytes_of(row: Floats, top: Any, values: Bytes) -> Any:
    """Write a row whose largest `magnitude` is `top` as bytes. Returns its scale."""
    largest = np.int32(top).view(np.float32)
    if SMALLEST < largest < np.float32(np.inf):
        factor = np.float32(127) / largest
        for j in range(row.size):
            values[j] = np.uint8(np.int32(row[j] * factor + np.float32(ZERO + 0.5)))
    else:
        values[:] = ZERO
    return largest * np.float32(1 / 127)


@compiled
def gelu(value: Any) -> Any:
    """value * (1 + erf(value / sqrt(2))) / 2, arXiv:1606.08415."""
    return np.float32(0.5) * value * (np.float32(1) + erf(value * np.float32(0.7071067811865476)))


@compiled
def erf(value: Any) -> Any:
    """The error function as a ratio of polynomials, within 4e-7; beyond 4 it is 1 to float32."""
    x = min(max(value, np.float32(-4)), np.float32(4))
    s = x * x
    p = np.float32(-2.72614225801306e-10)
    p = p * s + np.float32(2.77068142495902e-08)
    p = p * s + np.float32(-2.10102402082508e-06)
    p = p * s + np.float32(-5.69250639462346e-05)
    p = p * s + np.float32(-7.34990630326855e-04)
    p = p * s + np.float32(-2.95459980854025e-03)
    p = p * s + np.float32(-1.60960333262415e-02)
    q = np.float32(-1.45660718464996e-05)
    q = q * s + np.float32(-2.13374055278905e-04)
    q = q * s + np.float32(-1.68282697438203e-03)
    q = q * s + np.float32(-7.37332916720468e-03)
    q = q * s + np.float32(-1.42647390514189e-02)
    return x * p / q
