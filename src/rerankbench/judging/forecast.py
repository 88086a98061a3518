"""About how many pairs are left to judge: judging is acted out on grades that may be the true ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rerankbench.judging.beliefs import Beliefs, beliefs
from rerankbench.judging.choice import next_places
from rerankbench.judging.pool import Pool
from rerankbench.judging.standing import Standing, completions, standing

TRUTHS, DRAWS = 3, 100
STEPS = 40  # of the pool, in which it is judged: so fine is the answer


def left(at: Standing, found: Beliefs) -> tuple[int, int]:
    """About how many pairs are left until the best arm is settled, and of how many queries; (0, 0): none.

    The median over truths drawn from what is to be expected.
    """
    if not at.rivals():
        return 0, 0
    needed = sorted(acted_out(at, truth) for truth in completions(at.pool, found, TRUTHS))
    return needed[len(needed) // 2]


def acted_out(at: Standing, truth: NDArray[np.int32]) -> tuple[int, int]:
    """How many pairs, of how many queries, are judged if these [queries, documents] are the grades."""
    pool, step = at.pool, max(1, int(at.pool.wanted.sum()) // STEPS)
    before = pool.open
    while places := next_of(pool, at.delta, at.highest, step):
        grades = pool.grades.copy()
        for place in places:
            grades[place] = truth[place]
        pool = replace(pool, grades=grades)
    judged = before & ~pool.open
    return max(1, int(judged.sum())), max(1, int(judged.any(axis=1).sum()))


def next_of(pool: Pool, delta: float, highest: int, count: int) -> list[tuple[int, int]]:
    found = beliefs(pool, highest)
    return next_places(standing(pool, found, delta, highest, DRAWS), found, count)
