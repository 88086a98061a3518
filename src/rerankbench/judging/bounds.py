"""What a difference of two arms in nDCG can still become, whatever the grades of unjudged pairs are.

nDCG is a ratio whose denominator grows with every relevant document. With the grades as sums of levels, both
its parts are sums over levels of what depends on one number only: how many unjudged documents reach the
level. Of those, the ones that favour the arm most come first, so the largest ratio is found by Dinkelbach's
method (Management Science 1967), each level by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.pool import Pool

Array = NDArray[np.float64]
STEPS, SMALL = 50, 1e-12


def bounds(pool: Pool, one: int, other: int, highest: int) -> tuple[float, float]:
    """The least and the largest mean difference in nDCG of arm `one` over arm `other`.

    Grades go from 0 to `highest`. The least is exact where it is negative, the largest where it is positive.
    """
    difference = pool.weights[one] - pool.weights[other]
    return -mean_at_most(pool, -difference, highest), mean_at_most(pool, difference, highest)


def mean_at_most(pool: Pool, difference: Array, highest: int) -> float:
    """The largest mean over queries of the sum of difference x grade over the ideal's gain."""
    if not len(difference):
        return 0.0
    rows = zip(difference, pool.grades, pool.open, strict=True)
    return float(np.mean([most(*row, pool.cutoff, highest) for row in rows]))


def most(
    difference: Array, grades: NDArray[np.int32], unjudged: NDArray[np.bool_], cutoff: int, highest: int
) -> float:
    """One query's largest ratio; all arrays [documents]."""
    known = grades != UNJUDGED
    levels = np.arange(1, max(highest, int(grades[known].max(initial=0))) + 1)
    reached = grades[known] >= levels[:, None]
    fixed = (reached * difference[known]).sum(axis=1)
    count = reached.sum(axis=1)
    best = np.sort(difference[unjudged])[::-1]
    ahead = np.concatenate([[0.0], np.cumsum(best)])
    discount = 1 / np.log2(np.arange(2, cutoff + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    taken = np.arange(len(ahead))
    gain = fixed[:, None] + ahead
    gain[levels > highest, 1:] = -np.inf
    cost = ideal[np.minimum(count[:, None] + taken, cutoff)]
    if not best.size and not count.any():
        return 0.0
    ratio = fixed.sum() / ideal[np.minimum(count, cutoff)].sum() if count.any() else 0.0
    for _ in range(STEPS):
        chosen = (gain - ratio * cost).argmax(axis=1)
        rows = np.arange(len(levels))
        above, below = gain[rows, chosen].sum(), cost[rows, chosen].sum()
        if below <= 0 or above - ratio * below <= SMALL:
            break
        ratio = above / below
    return float(ratio)
