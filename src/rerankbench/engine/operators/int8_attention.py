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

QUERIES = 128  # looked at together: their scores stay in the second cache for sequences of 512 tokens
LANES = 16  # float32 numbers in a register, of which rows are multiples
STEP = 8  # products that are added before their sum is written
TILE = 4  # rows that are computed side by side
ROW1, ROW2, ROW3, ROW4, ROW5, ROW6, ROW7 = (np.uint64(QUERIES * row) for row in range(1, STEP))


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
    share = np.float32(1 / math.sqrt(size))
    query, mixed = np.zeros(wide * QUERIES, np.float32), np.empty(wide * QUERIES, np.float32)
    key, value = np.zeros((longest, wide), np.float32), np.zeros((wide, longest), np.float32)
    weights = np.empty(longest * QUERIES, np.float32)
    rows, joint = np.empty((longest, hidden), np.float32), np.empty((longest, 3 * hidden), np.float32)
    end = 0
    for i in range(starts.size):
        start, length, end = starts[i], lengths[i], starts[i] + lengths[i]
        some = joint[:length]
        unpack(products[start:end], scales[start:end], bias, some)
        for head in range(heads):
            at = head * size
            keys_of(some, hidden + at, size, key)
            turn(some, 2 * hidden + at, size, np.float32(1), value)
            value[:size, length : up(length, LANES)] = 0
            for first in range(0, length, QUERIES):
                asked = some[first : first + QUERIES]
                turn(asked, at, size, share, query.reshape(wide, QUERIES))
                look(query, key, value, length, up(len(asked), LANES), weights, mixed)
                turn_back(mixed, at, size, rows[first : first + len(asked)])
        quantize(rows[:length], values[start:end], new_scales[start:end])
    values[end:] = ZERO
    new_scales[end:] = 0


@compiled
def unpack(products: Floats, scales: Floats, bias: Floats, out: Floats) -> None:
    """Products of bytes as the numbers that they stand for, the bias added."""
    for t in range(len(products)):
        product, scale, row = products[t], scales[t], out[t]
        for j in range(row.size):
            row[j] = product[j] * scale + bias[j]


@compiled
def keys_of(rows: Floats, at: int, size: int, out: Floats) -> None:
    """One head's part of each token as a row of its own, and zeros up to the next multiple of `LANES`."""
    for t in range(len(rows)):
        out[t, :size] = rows[t, at : at + size]
    out[len(rows) : up(len(rows), LANES), :size] = 0


@compiled
def turn_back(columns: Floats, at: int, size: int, out: Floats) -> None:
    """Columns of `QUERIES` numbers as one head's part of each token."""
    for t in range(len(out)):
        row = out[t]
        for d in range(size):
            row[at + d] = columns[d * QUERIES + t]


@compiled
def turn(rows: Floats, at: int, size: int, factor: Any, out: Floats) -> None:
    """One head's part of each token, times `factor`: [size, tokens]."""
    for t in range(len(rows)):
        row = rows[t, at : at + size]
        for d in range(size):
            out[d, t] = row[d] * factor


@compiled
def look(
    query: Floats, key: Floats, value: Floats, length: int, columns: int, weights: Floats, mixed: Floats
) -> None:
    """What queries [size, columns] see of keys [tokens, size] and values [size, tokens]: `mixed`, as queries.

    Rows of queries, of what is seen and of `weights` [tokens, columns] begin every `QUERIES` numbers.
    """
    tokens = up(length, LANES)
    for k in range(0, tokens, TILE):
        dot(key[k : k + TILE], query, key.shape[1], columns, weights[k * QUERIES :])
    weights[length * QUERIES : tokens * QUERIES] = 0
    top, total = weights[:columns].copy(), np.zeros(columns, np.float32)
    for k in range(1, length):
        row = weights[k * QUERIES : k * QUERIES + columns]
        for q in range(columns):
            top[q] = row[q] if row[q] > top[q] else top[q]
    for k in range(length):
        row = weights[k * QUERIES : k * QUERIES + columns]
        for q in range(columns):
            row[q] = exp(row[q] - top[q])
            total[q] += row[q]
    for d in range(0, len(value), TILE):
        dot(value[d : d + TILE], weights, tokens, columns, mixed[d * QUERIES :])
    for d in range(len(value)):
        row = mixed[d * QUERIES : d * QUERIES + columns]
        for q in range(columns):
            row[q] /= total[q]


@compiled
def dot(left: Floats, rows: Floats, inner: int, columns: int, out: Floats) -> None:
    """left [TILE, inner or more] @ rows [inner, columns], `inner` a multiple of `STEP`.

    Sums are over `STEP` rows in turn: what is added to is read and written once for all of them. One array
    for all rows, with a distance that the compiler knows, leaves it nothing to find out while it runs.
    """
    l0, l1, l2, l3 = left[0], left[1], left[2], left[3]
    o = out[: TILE * QUERIES]
    o[:] = 0
    for k in range(0, inner, STEP):
        r = rows[k * QUERIES : (k + STEP) * QUERIES]
        a0, a1, a2, a3 = l0[k], l0[k + 1], l0[k + 2], l0[k + 3]
        a4, a5, a6, a7 = l0[k + 4], l0[k + 5], l0[k + 6], l0[k + 7]
        b0, b1, b2, b3 = l1[k], l1[k + 1], l1[k + 2], l1[k + 3]
        b4, b5, b6, b7 = l1[k + 4], l1[k + 5], l1[k + 6], l1[k + 7]
        c0, c1, c2, c3 = l2[k], l2[k + 1], l2[k + 2], l2[k + 3]
        c4, c5, c6, c7 = l2[k + 4], l2[k + 5], l2[k + 6], l2[k + 7]
        d0, d1, d2, d3 = l3[k], l3[k + 1], l3[k + 2], l3[k + 3]
        d4, d5, d6, d7 = l3[k + 4], l3[k + 5], l3[k + 6], l3[k + 7]
        for j in range(np.uint64(columns)):  # unsigned: no index counts from the end
            r0, r1, r2, r3 = r[j], r[j + ROW1], r[j + ROW2], r[j + ROW3]
            r4, r5, r6, r7 = r[j + ROW4], r[j + ROW5], r[j + ROW6], r[j + ROW7]
            o[j] += (
                a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
                + a4 * r4 + a5 * r5 + a6 * r6 + a7 * r7
            )  # fmt: skip
            o[j + ROW1] += (
                b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
                + b4 * r4 + b5 * r5 + b6 * r6 + b7 * r7
            )  # fmt: skip
            o[j + ROW2] += (
                c0 * r0 + c1 * r1 + c2 * r2 + c3 * r3
                + c4 * r4 + c5 * r5 + c6 * r6 + c7 * r7
            )  # fmt: skip
            o[j + ROW3] += (
                d0 * r0 + d1 * r1 + d2 * r2 + d3 * r3
                + d4 * r4 + d5 * r5 + d6 * r6 + d7 * r7
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
            top = similar(query, joint, joint_scales, joint_bias, start, length, at, weights)
            place, mixed = hidden + at, row[at : at + size]
            mix(weights, top, joint, joint_scales, joint_bias, start, length, place, mixed)
        highest = np.int32(0)
        for j in range(hidden):
            highest = max(highest, magnitude(row[j]))
        new_scales[i] = bytes_of(row, highest, values[i])
    values[starts.size :] = ZERO
    new_scales[starts.size :] = 0


@compiled
def similar(
    query: Floats,
    joint: Floats,
    scales: Floats,
    bias: Floats,
    start: int,
    length: int,
    at: int,
    weights: Floats,
) -> Any:
    """Inner products of a query with the keys of a sequence, in `weights`; the highest of them."""
    top = np.float32(-np.inf)
    for k in range(length):
        product, scale, found = joint[start + k], scales[start + k], np.float32(0)
        for d in range(query.size):
            found += query[d] * (product[at + d] * scale + bias[at + d])
        weights[k] = found
        top = found if found > top else top
    return top


@compiled
def mix(
    weights: Floats,
    top: Any,
    joint: Floats,
    scales: Floats,
    bias: Floats,
    start: int,
    length: int,
    at: int,
    mixed: Floats,
) -> None:
    """The mean of a sequence's values, by the softmax of `weights`."""
    total = np.float32(0)
    mixed[:] = 0
    for k in range(length):
        weight = exp(weights[k] - top)
        total += weight
        product, scale = joint[start + k], scales[start + k]
        for d in range(mixed.size):
            mixed[d] += weight * (product[at + d] * scale + bias[at + d])
    for d in range(mixed.size):
        mixed[d] /= total


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
