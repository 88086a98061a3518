"""Rank-biased overlap: how alike two ranked lists are, from 0 to 1, the first ranks counting most.

Webber, Moffat and Zobel, A similarity measure for indefinite rankings, TOIS 2010, extrapolated (equation 32),
so that lists that agree as far as they are known have the value 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation.significance import Interval

PERSISTENCE = 0.9  # the first ten ranks then have 86% of the weight
RESAMPLES, SEED = 2000, 0


def rank_biased_overlap(
    one: NDArray[np.integer], other: NDArray[np.integer], p: float = PERSISTENCE
) -> NDArray[np.float64]:
    """The overlap of lists [queries, ranks] of numbers, -1 behind their ends: [queries].

    Two empty lists are alike (1); an empty one and another are not (0).
    """
    values = [one_query(a[a >= 0], b[b >= 0], p) for a, b in zip(one, other, strict=True)]
    return np.array(values, np.float64)


def one_query(one: NDArray[np.integer], other: NDArray[np.integer], p: float) -> float:
    """Equation 32; `overlap`: how much the lists share down to each depth."""
    short, long = sorted((one, other), key=len)
    few, many = len(short), len(long)
    if not few:
        return float(many == 0)
    _, at_short, at_long = np.intersect1d(short, long, assume_unique=True, return_indices=True)
    overlap = np.cumsum(np.bincount(np.maximum(at_short, at_long), minlength=many)[:many]).astype(float)
    depth = np.arange(1, many + 1)
    seen = (overlap / depth * p**depth).sum()
    at_few, at_many = overlap[few - 1], overlap[many - 1]
    behind = depth[few:]
    extrapolated = (at_few * (behind - few) / (few * behind) * p**behind).sum()
    rest = ((at_many - at_few) / many + at_few / few) * p**many
    return float((1 - p) / p * (seen + extrapolated) + rest)


def interval(values: NDArray[np.float64], level: float) -> Interval:
    """The mean of values [queries], and what it would be for other queries."""
    drawn = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
