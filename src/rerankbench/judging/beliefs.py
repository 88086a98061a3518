"""What is to be expected of pairs that nobody has judged: how likely they are relevant, and how relevant.

A logistic regression on where the arms rank a pair, with an effect of each query, fitted to the pairs that
are judged (Carterette, Robust test collections for retrieval evaluation, SIGIR 2007, estimates relevance from
rankings as well). Which pairs are judged depends on ranks and on earlier grades only, so that it does not
bias the fit. Its uncertainty is drawn along with the grades.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.judging.pool import Pool

Array = NDArray[np.float64]

# Before anything is judged: about one of three is relevant, more on first ranks. Of all lines together.
INTERCEPT, HIGH, LINES = -1.5, 0.5, 2.0
SPREAD, QUERY_SPREAD = 1.5, 1.0  # prior standard deviations of coefficients and of queries
STEPS, SMALL = 30, 1e-9


@dataclass(frozen=True)
class Beliefs:
    """The posterior around its mode.

    features: [queries, documents, features]; mode: [features] and queries [queries]; the precision of both as
    blocks: `own` [features, features], `shared` [features, queries], `single` [queries]. counts: how many
    judged pairs have the grades 1, 2, ... up to the highest possible.
    """

    features: Array
    mode: Array
    queries: Array
    own: Array
    shared: Array
    single: Array
    counts: Array

    def chances(self) -> Array:
        """How likely each pair [queries, documents] is relevant, by the mode."""
        return logistic(self.features @ self.mode + self.queries[:, None])

    def gain(self) -> tuple[float, float]:
        """Mean and mean square of a relevant pair's grade."""
        shares = (self.counts + 1) / (self.counts + 1).sum()
        levels = np.arange(1, len(shares) + 1)
        return float(shares @ levels), float(shares @ levels**2)

    def draw(self, draws: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Coefficients [draws, features], effects [draws, queries], shares of the grades [draws, grades]."""
        free = self.own - (self.shared / self.single) @ self.shared.T
        wide = np.linalg.cholesky(np.linalg.inv(free))
        off = rng.standard_normal((draws, len(self.mode))) @ wide.T
        noise = rng.standard_normal((draws, len(self.queries))) / np.sqrt(self.single)
        effects = self.queries - (off @ self.shared) / self.single + noise
        return self.mode + off, effects, rng.dirichlet(self.counts + 1, draws)


def beliefs(pool: Pool, highest: int) -> Beliefs:
    """Fit to what is judged so far; grades go from 0 to `highest`."""
    found = features(pool)
    known = pool.grades != UNJUDGED
    query, _ = np.nonzero(known)
    x, y = found[known], (pool.grades[known] > 0).astype(float)
    levels = np.clip(pool.grades[known & (pool.grades > 0)], 1, highest)
    counts = np.bincount(levels, minlength=highest + 1)[1:].astype(float)
    return fitted(found, x, y, query, counts)


def features(pool: Pool) -> Array:
    """One, the highest discount that arms give a pair, and that of each line: [queries, documents, features].

    A coefficient for each line says how far its ranks are to be trusted.
    """
    high = pool.weights.max(axis=0, initial=0.0)
    lines = pool.weights[list(pool.lines)]
    return np.concatenate([np.stack([np.ones_like(high), high]), lines]).transpose(1, 2, 0)


def fitted(found: Array, x: Array, y: Array, query: NDArray[np.int64], counts: Array) -> Beliefs:
    """Newton's method on the log posterior, which is concave."""
    queries = len(found)
    lines = found.shape[2] - 2
    centre = np.array([INTERCEPT, HIGH, *[LINES / lines] * lines])
    mode, effects = centre.copy(), np.zeros(queries)
    own: Array = np.eye(len(mode))
    shared: Array = np.zeros((len(mode), queries))
    single: Array = np.ones(queries)
    for _ in range(STEPS):
        p = logistic(x @ mode + effects[query])
        weight: Array = p * (1 - p)
        own = (x * weight[:, None]).T @ x + np.eye(len(mode)) / SPREAD**2
        single = np.bincount(query, weight, queries).astype(np.float64) + 1 / QUERY_SPREAD**2
        shared = np.stack([np.bincount(query, weight * column, queries) for column in x.T])
        slope = x.T @ (y - p) - (mode - centre) / SPREAD**2
        slopes = np.bincount(query, y - p, queries) - effects / QUERY_SPREAD**2
        free = own - (shared / single) @ shared.T
        step = np.linalg.solve(free, slope - shared @ (slopes / single))
        steps = (slopes - shared.T @ step) / single
        mode, effects = mode + step, effects + steps
        if max(np.abs(step).max(), np.abs(steps).max(initial=0.0)) < SMALL:
            break
    return Beliefs(found, mode, effects, own, shared, single, counts)


def logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
