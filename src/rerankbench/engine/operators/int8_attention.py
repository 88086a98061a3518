"""Attention between int8 products, compiled: each sequence by itself, as long as it is, in float32.

No padding and no mask: nothing of the batch reaches a sequence but its own tokens, in an order of summation
that depends on its length alone. Scores are laid out with keys as rows and queries as columns, so that
softmax and both products run along queries, many at a time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.operators.int8_rows import (
    ZERO,
    Bytes,
    Floats,
    bytes_of,
    compiled,
    magnitude,
    quantize,
)

Whole = NDArray[np.int64]

LANES = 16  # float32 numbers in a register, of which rows are multiples
STEP = 8  # products that are added before their sum is written
TILE = 4  # rows that are computed side by side
QUERIES = 128  # looked at together: their scores stay in the second cache for sequences of 512 tokens


@compiled
def attend(
    products: Floats,
    scales: Floats,
    bias: Floats,
    starts: Whole,
    lengths: Whole,
    heads: int,
    values: Bytes,
    new_scales: Floats,
) -> None:
    """Attention over queries, keys and values of all tokens, products float32 [tokens, 3 * hidden], to int8.

    starts, lengths [n]: of each sequence. Tokens behind the last sequence become zeros.
    """
    hidden = products.shape[1] // 3
    size = hidden // heads
    longest, wide = up(lengths.max(), LANES), up(size, STEP)
    columns = min(longest, QUERIES)
    share = np.float32(1 / math.sqrt(size))
    query, mixed = np.zeros((wide, columns), np.float32), np.empty((wide, columns), np.float32)
    key, value = np.zeros((longest, wide), np.float32), np.zeros((wide, longest), np.float32)
    weights = np.empty((longest, columns), np.float32)
    rows = np.empty((longest, hidden), np.float32)
    end = 0
    for i in range(starts.size):
        start, length = starts[i], lengths[i]
        end = start + length
        some, some_scales = products[start:end], scales[start:end]
        for head in range(heads):
            at = head * size
            take(some, some_scales, bias, hidden + at, size, key)
            key[length : up(length, LANES), :size] = 0
            take_turned(some, some_scales, bias, 2 * hidden + at, size, np.float32(1), value)
            value[:size, length : up(length, LANES)] = 0
            for first in range(0, length, QUERIES):
                asked, asked_scales = some[first : first + QUERIES], some_scales[first : first + QUERIES]
                take_turned(asked, asked_scales, bias, at, size, share, query)
                look(query, key, value, length, up(len(asked), LANES), weights, mixed)
                for t in range(len(asked)):
                    row = rows[first + t]
                    for d in range(size):
                        row[at + d] = mixed[d, t]
        quantize(rows[:length], values[start:end], new_scales[start:end])
    values[end:] = ZERO
    new_scales[end:] = 0


@compiled
def take(products: Floats, scales: Floats, bias: Floats, at: int, size: int, out: Floats) -> None:
    """One head's part of each token, [tokens, size]."""
    own = bias[at : at + size]
    for t in range(len(products)):
        product, scale, row = products[t, at : at + size], scales[t], out[t]
        for d in range(size):
            row[d] = product[d] * scale + own[d]


@compiled
def take_turned(
    products: Floats, scales: Floats, bias: Floats, at: int, size: int, factor: Any, out: Floats
) -> None:
    """The same, times `factor`, as [size, tokens]."""
    own = bias[at : at + size]
    for t in range(len(products)):
        product, scale = products[t, at : at + size], scales[t]
        for d in range(size):
            out[d, t] = (product[d] * scale + own[d]) * factor


@compiled
def look(
    query: Floats, key: Floats, value: Floats, length: int, columns: int, weights: Floats, mixed: Floats
) -> None:
    """What queries [size, columns] see of keys [tokens, size] and values [size, tokens]: `mixed`."""
    tokens = up(length, LANES)
    for k in range(0, tokens, TILE):
        dot(key[k : k + TILE], query, columns, weights[k : k + TILE])
    weights[length:tokens] = 0
    top, total = weights[0, :columns].copy(), np.zeros(columns, np.float32)
    for k in range(1, length):
        row = weights[k]
        for q in range(columns):
            top[q] = row[q] if row[q] > top[q] else top[q]
    for k in range(length):
        row = weights[k]
        for q in range(columns):
            row[q] = exp(row[q] - top[q])
            total[q] += row[q]
    for q in range(columns):
        total[q] = np.float32(1) / total[q]
    for d in range(0, len(value), TILE):
        dot(value[d : d + TILE], weights[:tokens], columns, mixed[d : d + TILE])
    for d in range(len(value)):
        row = mixed[d]
        for q in range(columns):
            row[q] *= total[q]


@compiled
def dot(left: Floats, rows: Floats, columns: int, out: Floats) -> None:
    """left [TILE, k or more] @ rows [k, columns or more], of `columns`; k is a multiple of `STEP`.

    Sums are over `STEP` rows in turn: what is added to is read and written once for all of them.
    """
    l0, l1, l2, l3 = left[0], left[1], left[2], left[3]
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    for j in range(columns):
        o0[j] = np.float32(0)
        o1[j] = np.float32(0)
        o2[j] = np.float32(0)
        o3[j] = np.float32(0)
    for k in range(0, len(rows), STEP):
        r0, r1, r2, r3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        r4, r5, r6, r7 = rows[k + 4], rows[k + 5], rows[k + 6], rows[k + 7]
        a0, a1, a2, a3 = l0[k], l0[k + 1], l0[k + 2], l0[k + 3]
        a4, a5, a6, a7 = l0[k + 4], l0[k + 5], l0[k + 6], l0[k + 7]
        b0, b1, b2, b3 = l1[k], l1[k + 1], l1[k + 2], l1[k + 3]
        b4, b5, b6, b7 = l1[k + 4], l1[k + 5], l1[k + 6], l1[k + 7]
        c0, c1, c2, c3 = l2[k], l2[k + 1], l2[k + 2], l2[k + 3]
        c4, c5, c6, c7 = l2[k + 4], l2[k + 5], l2[k + 6], l2[k + 7]
        d0, d1, d2, d3 = l3[k], l3[k + 1], l3[k + 2], l3[k + 3]
        d4, d5, d6, d7 = l3[k + 4], l3[k + 5], l3[k + 6], l3[k + 7]
        for j in range(columns):
            o0[j] += (
                a0 * r0[j] + a1 * r1[j] + a2 * r2[j] + a3 * r3[j]
                + a4 * r4[j] + a5 * r5[j] + a6 * r6[j] + a7 * r7[j]
            )  # fmt: skip
            o1[j] += (
                b0 * r0[j] + b1 * r1[j] + b2 * r2[j] + b3 * r3[j]
                + b4 * r4[j] + b5 * r5[j] + b6 * r6[j] + b7 * r7[j]
            )  # fmt: skip
            o2[j] += (
                c0 * r0[j] + c1 * r1[j] + c2 * r2[j] + c3 * r3[j]
                + c4 * r4[j] + c5 * r5[j] + c6 * r6[j] + c7 * r7[j]
            )  # fmt: skip
            o3[j] += (
                d0 * r0[j] + d1 * r1[j] + d2 * r2[j] + d3 * r3[j]
                + d4 * r4[j] + d5 * r5[j] + d6 * r6[j] + d7 * r7[j]
            )  # fmt: skip


@compiled
def attend_first(
    queries: Floats,
    scales: Floats,
    bias: Floats,
    joint: Floats,
    joint_scales: Floats,
    joint_bias: Floats,
    starts: Whole,
    lengths: Whole,
    heads: int,
    values: Bytes,
    new_scales: Floats,
) -> None:
    """The same for the first token of each sequence alone.

    queries: [n, hidden]; joint: keys and values of all tokens, [tokens, 2 * hidden].
    """
    hidden = queries.shape[1]
    size = hidden // heads
    share = np.float32(1 / math.sqrt(size))
    weights, row = np.empty(lengths.max(), np.float32), np.empty(hidden, np.float32)
    query = np.empty(size, np.float32)
    for i in range(starts.size):
        start, length = starts[i], lengths[i]
        for head in range(heads):
            at = head * size
            for d in range(size):
                query[d] = (queries[i, at + d] * scales[i] + bias[at + d]) * share
            top = np.float32(-np.inf)
            for k in range(length):
                product, scale, found = joint[start + k], joint_scales[start + k], np.float32(0)
                for d in range(size):
                    found += query[d] * (product[at + d] * scale + joint_bias[at + d])
                weights[k] = found
                top = found if found > top else top
            total = np.float32(0)
            mixed = row[at : at + size]
            mixed[:] = 0
            for k in range(length):
                weight = exp(weights[k] - top)
                total += weight
                product, scale = joint[start + k], joint_scales[start + k]
                for d in range(size):
                    place = hidden + at + d
                    mixed[d] += weight * (product[place] * scale + joint_bias[place])
            for d in range(size):
                mixed[d] /= total
        highest = np.int32(0)
        for j in range(hidden):
            highest = max(highest, magnitude(row[j]))
        new_scales[i] = bytes_of(row, highest, values[i])
    values[starts.size :] = ZERO
    new_scales[starts.size :] = 0


@compiled
def up(number: int, multiple: int) -> int:
    """The next multiple."""
    return (number + multiple - 1) // multiple * multiple


@compiled
def exp(value: Any) -> Any:
    """e to a power of 0 or less, within 2e-7; 0 below e to the -87th."""
    bounded = value if value > np.float32(-87) else np.float32(-87)  # of NaN, too
    whole = np.float32(math.floor(bounded * np.float32(1.4426950408889634) + np.float32(0.5)))
    rest = value - whole * np.float32(0.693359375)
    rest = rest - whole * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(0) if value < np.float32(-87) else (p * rest * rest + rest + np.float32(1)) * power
