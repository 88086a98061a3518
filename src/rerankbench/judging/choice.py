"""Which pair to judge next.

After minimal test collections (Carterette, Allan and Sitaraman, SIGIR 2006): the next pair is the one whose
grade moves the open differences most, by the spread that its unknown grade gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.beliefs import Beliefs
from rerankbench.judging.pool import Pair, Pool
from rerankbench.judging.standing import Standing

Array = NDArray[np.float64]


def next_pairs(
    standing: Standing, found: Beliefs, count: int, passed: frozenset[Pair] = frozenset()
) -> list[Pair]:
    """The pairs to judge next, the one with the largest effect first; none where all is settled.

    passed: pairs that nobody could judge, which are not asked for again.
    """
    pool = standing.pool
    places = next_places(standing, found, count + len(passed))
    pairs = [(pool.query_ids[query], pool.pairs[query][document]) for query, document in places]
    return [pair for pair in pairs if pair not in passed][:count]


def next_places(standing: Standing, found: Beliefs, count: int) -> list[tuple[int, int]]:
    """The same as numbers of queries and documents in the pool."""
    rivals = standing.rivals()
    if not rivals:
        return []
    effect = np.where(standing.pool.open, effects(standing, found, rivals).sum(axis=0), -1.0)
    order = np.argsort(-effect.round(15), axis=None, kind="stable")[:count].tolist()
    places = (divmod(flat, effect.shape[1]) for flat in order)
    return [place for place in places if effect[place] >= 0]


def effects(standing: Standing, found: Beliefs, rivals: Sequence[int]) -> Array:
    """The variance that unjudged pairs give differences to rivals: [rivals, queries, documents]."""
    pool = standing.pool
    chance = found.chances()
    first, second = found.gain()
    spread = chance * second - (chance * first) ** 2
    ideal = expected_ideal(pool, chance * first)
    difference = pool.weights[standing.leader] - pool.weights[list(rivals)]
    return np.where(pool.open, spread * (difference / ideal[:, None]) ** 2, 0.0)


def expected_ideal(pool: Pool, gains: Array) -> Array:
    """The ideal's gain of each query [queries], as far as it is known or expected."""
    known = np.where(pool.grades == UNJUDGED, np.where(pool.open, gains, 0.0), np.maximum(pool.grades, 0))
    best = -np.sort(-known, axis=1)[:, : pool.cutoff]
    return np.maximum(best @ (1 / np.log2(np.arange(2, best.shape[1] + 2))), 0.5)
