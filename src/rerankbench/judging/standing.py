"""How arms stand as far as pairs are judged: which comparisons are settled, which are open.

Unjudged pairs are given grades at random, as `beliefs` expects them, many times over. A comparison is settled
when nearly all of these completions agree on it, or when no completion at all could change it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.beliefs import Beliefs, logistic
from rerankbench.judging.bounds import bounds
from rerankbench.judging.pool import Pool

Array = NDArray[np.float64]

DRAWS, SEED = 1000, 0
AT_ONCE = 1 << 22  # grades drawn together
LEVEL = 0.98  # of all completions; simulated, a settled verdict is then wrong in fewer than one of twenty
FEWEST = 20  # judgements before chances are believed
BETTER, WORSE, ALIKE, OPEN = "better", "worse", "as good", "open"


@dataclass(frozen=True)
class Standing:
    """Means over queries in completions [draws, arms]; `highest`: the highest grade.

    others: the same for other queries of the kind, by random weights of these (Bayesian bootstrap, Rubin,
    Annals of Statistics 1981).
    """

    pool: Pool
    means: Array
    others: Array
    delta: float
    highest: int

    @property
    def leader(self) -> int:
        """The arm whose expected mean is highest; the first of equals."""
        return int(np.argmax(self.expected().round(12)))

    def expected(self) -> Array:
        """[arms]"""
        return np.asarray(self.means.mean(axis=0))

    def state(self, one: int, other: int) -> str:
        """What is settled of two arms: the first is better, worse or as good, or it is open."""
        difference = self.means[:, one] - self.means[:, other]
        enough = self.pool.judged >= FEWEST
        alike = float((np.abs(difference) <= self.delta).mean()) >= LEVEL
        chances = {BETTER: (difference > 0).mean(), WORSE: (difference < 0).mean(), ALIKE: alike}
        if enough:
            for state in (ALIKE, BETTER, WORSE) if alike else (BETTER, WORSE):
                if chances[state] >= LEVEL:
                    return state
        return self.certain(one, other)

    def certain(self, one: int, other: int) -> str:
        """What is settled whatever the unjudged pairs are."""
        low, high = bounds(self.pool, one, other, self.highest)
        if low > 1e-9 or high < -1e-9:
            return BETTER if low > 0 else WORSE
        return ALIKE if max(-low, high) <= self.delta + 1e-9 else OPEN

    def rivals(self) -> list[int]:
        """Arms of which it is open whether the leader is better, or as good."""
        leader = self.leader
        others = [arm for arm in range(self.means.shape[1]) if arm != leader]
        return [arm for arm in others if self.state(leader, arm) == OPEN]


def standing(pool: Pool, found: Beliefs, delta: float, highest: int, draws: int = DRAWS) -> Standing:
    """Complete the judgements `draws` times, and measure every arm on each."""
    rng = np.random.default_rng(SEED)
    coefficients, effects, shares = found.draw(draws, rng)
    queries, width = pool.grades.shape
    weights = rng.standard_exponential((draws, queries))
    sums, weighted = (np.zeros((draws, len(pool.weights))) for _ in range(2))
    step = max(1, AT_ONCE // max(1, draws * width))
    for at in range(0, queries, step):
        block = slice(at, at + step)
        chance = logistic(
            np.einsum("qpf,df->dqp", found.features[block], coefficients) + effects[:, block, None]
        )
        grades = completed(pool.grades[block], pool.open[block], chance, shares, rng)
        values = ndcg(grades, pool.weights[:, block], pool.cutoff)
        sums += values.sum(axis=2)
        weighted += np.einsum("daq,dq->da", values, weights[:, block])
    others = weighted / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    return Standing(pool, sums / max(1, queries), others, delta, highest)


def completions(pool: Pool, found: Beliefs, draws: int) -> NDArray[np.int32]:
    """Grades [draws, queries, documents] of the whole pool, as `completed` has them."""
    rng = np.random.default_rng(SEED)
    coefficients, effects, shares = found.draw(draws, rng)
    chance = logistic(np.einsum("qpf,df->dqp", found.features, coefficients) + effects[:, :, None])
    return completed(pool.grades, pool.open, chance, shares, rng).astype(np.int32)


def completed(
    grades: NDArray[np.int32],
    unjudged: NDArray[np.bool_],
    chance: Array,
    shares: Array,
    rng: np.random.Generator,
) -> Array:
    """Grades [draws, queries, documents]: known ones, others at random, 0 behind the last document."""
    drawn = rng.random(chance.shape)
    level = np.ones(chance.shape)
    for cumulated in np.cumsum(shares, axis=1)[:, :-1].T:
        level += drawn / np.maximum(chance, 1e-300) > cumulated[:, None, None]
    random = np.where(drawn < chance, level, 0.0)
    return np.where(unjudged, random, np.where(grades == UNJUDGED, 0, np.maximum(grades, 0)))


def ndcg(grades: Array, weights: Array, cutoff: int) -> Array:
    """nDCG [draws, arms, queries] of grades [draws, queries, documents], 0 where nothing is relevant."""
    gained = np.einsum("dqp,aqp->daq", grades, weights, optimize=True)
    best = -np.sort(-grades, axis=2)[:, :, :cutoff]
    ideal = best @ (1 / np.log2(np.arange(2, best.shape[2] + 2)))
    return np.divide(gained, ideal[:, None], out=np.zeros_like(gained), where=ideal[:, None] > 0)
