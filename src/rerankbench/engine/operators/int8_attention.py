"""Attention between int8 products, compiled: each sequence by itself, as long as it is.

Queries, keys and values become int16, each head's with scales of its own, and so do the weights of softmax:
their products are exact sums of integers. No padding and no mask: nothing of the batch reaches a sequence but
its own tokens.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.operators.int8_rows import (
    SMALLEST,
    ZERO,
    Bytes,
    Floats,
    compiled,
    magnitude,
    quantize,
)
from rerankbench.engine.operators.int8_tiles import COLUMNS, ROWS, multiply

Whole = NDArray[np.int64]
Shorts = NDArray[np.int16]
Integers = NDArray[np.int32]
Products = tuple[Floats, Floats, Floats]  # what `Int8Linear.multiplied` gives: products, scales and bias
Room = tuple[Shorts, Integers, Integers]  # one head's queries, keys and values as integers

LOWEST = np.int32(-(2**30))  # of products of queries and keys
INFINITY = np.int32(0x7F800000)  # as a magnitude


@compiled
def attend(
    asked: Products,
    joint: Products,
    first: bool,
    starts: Whole,
    lengths: Whole,
    heads: int,
    values: Bytes,
    scales: Floats,
) -> None:
    """What queries see, to int8: `values` [rows of asked, hidden] and their `scales`.

    asked: its first columns are the queries, of all tokens or, if `first`, of each sequence's first token.
    joint: its last columns are the keys and values of all tokens. starts, lengths [n]: of each sequence.
    Rows behind the last sequence become zeros.
    """
    hidden, longest, end = values.shape[1], up(lengths.max(), COLUMNS), 0
    size, wide = hidden // heads, up(hidden // heads, COLUMNS)
    query, rest = np.empty((longest, hidden), np.float32), np.empty((longest, 2 * hidden), np.float32)
    tops, rest_tops = np.empty(hidden, np.int32), np.empty(2 * hidden, np.int32)
    queries = np.zeros((longest, wide), np.int16)
    keys = np.zeros((longest // COLUMNS, wide // 2, COLUMNS), np.int32)
    contents = np.zeros((wide // COLUMNS, longest // 2, COLUMNS), np.int32)
    for i in range(starts.size):
        length = lengths[i]
        start, count = (i, 1) if first else (starts[i], length)
        end = start + count
        unpack(asked, 0, start, count, query, tops)
        unpack(joint, joint[0].shape[1] - 2 * hidden, starts[i], length, rest, rest_tops)
        for at in range(0, hidden, size):
            found = query[:count, at : at + size]
            see(found, rest, tops, rest_tops, at, length, (queries, keys, contents))
        quantize(query[:count], values[start:end], scales[start:end])
    values[end:] = ZERO
    scales[end:] = 0


@compiled
def unpack(products: Products, at: int, start: int, count: int, out: Floats, tops: Integers) -> None:
    """Some rows of products, from column `at` on, as the numbers that they stand for, the bias added.

    Zeros follow up to the next multiple of `COLUMNS`. tops: the largest magnitude of each column.
    """
    bias = products[2][at:]
    tops[:] = 0
    for t in range(count):
        product, scale, row = products[0][start + t, at:], products[1][start + t], out[t]
        for j in range(tops.size):
            row[j] = product[j] * scale + bias[j]
            tops[j] = max(tops[j], magnitude(row[j]))
    out[count : up(count, COLUMNS)] = 0


@compiled
def see(
    query: Floats, rest: Floats, tops: Integers, rest_tops: Integers, at: int, length: int, room: Room
) -> None:
    """One head's attention: `query` [count, size] becomes what it sees of a sequence's keys and values.

    rest: keys, then values, of all heads. tops, rest_tops: the largest magnitudes in each column.
    """
    queries, keys, contents = room
    hidden, size = tops.size, query.shape[1]
    key_tops, value_tops = rest_tops[at : at + size], rest_tops[hidden + at : hidden + at + size]
    top, key_top = highest(tops[at : at + size]), highest(key_tops)
    most = np.float32(math.floor(math.sqrt(-LOWEST / size)))
    power = real(top) / most * (real(key_top) / most) * np.float32(math.log2(math.e) / math.sqrt(size))
    if max(top, key_top, highest(value_tops), magnitude(power)) >= INFINITY:
        query[:] = np.nan
        return
    shorten(rest[: up(length, COLUMNS), at : at + size], factor_of(key_top, most), queries)
    lay_keys(queries, length, keys)
    shorten(query, factor_of(top, most), queries)
    finest = np.float32(min(32767, math.floor(math.sqrt((2**31 - 1) / length))))  # of weights and values
    lay_values(rest, hidden + at, length, value_tops, finest, contents)
    look(queries, keys, contents, length, finest, power, value_tops, query)


@compiled
def highest(tops: Integers) -> Any:
    found = np.int32(0)
    for j in range(tops.size):
        found = max(found, tops[j])
    return found


@compiled
def real(top: Any) -> Any:
    """The number of which `top` is the magnitude."""
    return np.int32(top).view(np.float32)


@compiled
def factor_of(top: Any, most: Any) -> Any:
    """What makes numbers up to `top` integers up to `most`."""
    return most / real(top) if real(top) > SMALLEST else np.float32(0)


@compiled
def nearest(value: Any) -> Any:
    """The nearest integer to a number within 32,767."""
    return np.int32(np.int32(value + np.float32(32768.5)) - np.int32(32768))


@compiled
def shorten(rows: Floats, factor: Any, out: Shorts) -> None:
    """Each row, times `factor`, as integers."""
    for t in range(len(rows)):
        row, found = rows[t], out[t]
        for d in range(row.size):
            found[d] = nearest(row[d] * factor)


@compiled
def lay_keys(rows: Shorts, length: int, out: Integers) -> None:
    """Laid out as the right side of a product of which each row is a column."""
    pairs, wide = rows.reshape(rows.size).view(np.int32), out.shape[1]
    for b in range(up(length, COLUMNS) // COLUMNS):
        for p in range(wide):
            found, first = out[b, p], b * COLUMNS * wide + p
            for t in range(COLUMNS):
                found[t] = pairs[first + t * wide]


@compiled
def lay_values(rows: Floats, at: int, length: int, tops: Integers, most: Any, out: Integers) -> None:
    """Columns `at` and so on as integers up to `most`, each with a factor of its own.

    Laid out as the right side of a product of which each column is one.
    """
    factors = np.empty(tops.size, np.float32)
    for d in range(tops.size):
        factors[d] = factor_of(tops[d], most)
    for b in range(len(out)):
        own = factors[b * COLUMNS : (b + 1) * COLUMNS]
        begin = at + b * COLUMNS
        for p in range(up(length, COLUMNS) // 2):
            even, odd, found = rows[2 * p, begin:], rows[2 * p + 1, begin:], out[b, p]
            for d in range(own.size):
                high = nearest(odd[d] * own[d]) << np.int32(16)
                found[d] = nearest(even[d] * own[d]) & np.int32(0xFFFF) | high


@compiled
def look(
    queries: Shorts,
    keys: Integers,
    contents: Integers,
    length: int,
    most: Any,
    power: Any,
    tops: Integers,
    out: Floats,
) -> None:
    """What queries see of keys and values: out [count, size].

    most: of weights and of values, whose largest are `tops`. power: how much of a power of 2 a product of a
    query and a key is.
    """
    columns, wide = up(length, COLUMNS), len(contents) * COLUMNS
    start, shares = np.zeros(columns, np.int32), np.zeros(columns, np.float32)
    start[length:] = LOWEST
    shares[:length] = most
    scores, weights = np.empty((ROWS, columns), np.int32), np.empty((ROWS, columns), np.int16)
    totals, units = np.empty(ROWS, np.float32), np.empty(tops.size, np.float32)
    mixed, nothing = np.empty((ROWS, wide), np.int32), np.zeros(wide, np.int32)
    for d in range(units.size):
        units[d] = real(tops[d]) / most
    for q in range(0, len(out), ROWS):
        for b in range(columns // COLUMNS):
            multiply(queries, q, keys, b, queries.shape[1] // 2, start, scores)
        soften(scores, power, shares, weights, totals)
        for b in range(len(contents)):
            multiply(weights, 0, contents, b, columns // 2, nothing, mixed)
        for r in range(min(ROWS, len(out) - q)):
            row, found, share = mixed[r], out[q + r], np.float32(1) / totals[r]
            for d in range(units.size):
                found[d] = row[d] * (units[d] * share)


@compiled
def soften(scores: Integers, power: Any, shares: Floats, weights: Shorts, totals: Floats) -> None:
    """2 to the power of each row's scores below its highest, times `shares`, as integers; and their sums.

    One loop after the other: compiled together, a row takes two thirds more time.
    """
    tops = np.empty(ROWS, np.int32)
    for r in range(ROWS):
        row, top = scores[r], LOWEST
        for k in range(row.size):
            top = max(top, row[k])
        tops[r] = top
    for r in range(ROWS):
        row, found, top = scores[r], weights[r], tops[r]
        for k in range(row.size):
            weight = exp2(np.float32(np.int32(row[k] - top)) * power) * shares[k]
            found[k] = np.int32(weight + np.float32(0.5))
    for r in range(ROWS):
        found, total = weights[r], np.int32(0)
        for k in range(found.size):
            total = np.int32(total + np.int32(found[k]))
        totals[r] = total


@compiled
def up(number: int, multiple: int) -> int:
    """The next multiple."""
    return (number + multiple - 1) // multiple * multiple


@compiled
def exp2(value: Any) -> Any:
    """2 to a power of 0 or less, within 3e-6; no less than 2 to the -32nd."""
    value = max(value, np.float32(-32))
    below = np.floor(value)
    f = value - below
    p = np.float32(0.01342655)
    p = p * f + np.float32(0.0522409)
    p = p * f + np.float32(0.24128269)
    p = p * f + np.float32(0.69304401)
    p = p * f + np.float32(1)
    return p * np.int32((np.int32(below) + np.int32(127)) << np.int32(23)).view(np.float32)
