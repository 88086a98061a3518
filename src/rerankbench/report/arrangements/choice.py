"""How an arm is chosen from many, and what such a choice is worth on queries that did not choose it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.claims.comparison import RANGE

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

SEED = 0
FOLDS, REPEATS = 5, 10
LEAST = 10  # queries below which nothing is said of it
UNSEEN = 2  # imagined queries, of which one gains and one loses everything: about the rule of three
Z = 1.959964  # of a 95% interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a rule of choosing reaches on queries that did not choose, in units of the measure.

    `naive`: the chosen arm's mean over all queries, by which it was chosen; `mean`: the cross-fitted one;
    `gain` against the baseline, with its standard error, which counts that the folds' choices share data,
    and its 95% interval.
    """

    naive: float
    mean: float
    gain: float
    se: float
    low: float
    high: float

    @property
    def optimism(self) -> float:
        """By how much the choice flatters itself."""
        return self.naive - self.mean


@dataclass(frozen=True, eq=False)
class Chooser:
    """The rule: of the arms within `margin` of the highest mean the cheapest, of equal cost the better.

    Arms are ordered from cheap to dear: `order` says which ones they are, `price` [arms] numbers their costs,
    equal ones alike. `sums`, `squares` [repeats, folds, arms]: of each arm's gains over the baseline in each
    fold; `counts` [repeats, folds] of queries; `total` [arms] over all queries; `baseline`: its mean.
    """

    order: Rows
    price: Rows
    sums: Array
    squares: Array
    counts: Array
    total: Array
    baseline: float

    @property
    def queries(self) -> int:
        return int(self.counts[0].sum())

    def all_queries(self, usable: NDArray[np.bool_], margin: float) -> int:
        """The arm (row of the field) that all queries choose among the usable ones [arms of the field]."""
        return int(self.order[self.pick(self.total / self.queries, usable[self.order], margin)])

    def cross_fitted(self, usable: NDArray[np.bool_], margin: float) -> Estimate | None:
        """What the rule reaches on held-out queries.

        The standard error is that of nested cross-validation (Bates, Hastie and Tibshirani, JASA 2024), at
        least the plain one, with two imagined queries for what none has shown. None for too few queries.
        """
        queries, kept = self.queries, usable[self.order]
        if queries < LEAST:
            return None
        others = (self.total - self.sums) / (queries - self.counts)[..., None]
        chosen = self.pick(others, kept, margin)
        gains, squares = of(self.sums, chosen), of(self.squares, chosen)
        means = gains.sum(axis=1) / queries
        spreads = (squares.sum(axis=1) / queries - means**2) / (queries - 1)
        plain = float(np.sqrt(np.maximum(spreads, 0.0)).mean())
        nested = math.sqrt(max(self.nested(kept, margin, gains, squares), 0.0))
        se = min(max(nested, plain), math.sqrt(FOLDS) * plain)
        se = math.hypot(se, math.sqrt(UNSEEN) * RANGE / queries)
        gain, naive = float(means.mean()), self.total[self.pick(self.total / queries, kept, margin)] / queries
        return Estimate(
            naive=float(naive) + self.baseline,
            mean=gain + self.baseline,
            gain=gain,
            se=se,
            low=gain - Z * se,
            high=gain + Z * se,
        )

    def nested(self, kept: NDArray[np.bool_], margin: float, gains: Array, squares: Array) -> float:
        """The mean squared error of a cross-fitted mean of so many queries.

        Of each fold: how far its own mean is from what the other folds predict of it among themselves,
        squared, less its own variance. gains, squares [repeats, folds] of the held-out queries.
        """
        places, errors = np.arange(FOLDS), []
        for out in places:
            inner = places[places != out]
            left = self.queries - self.counts[:, [out]] - self.counts[:, inner]
            sums = self.total - self.sums[:, [out]] - self.sums[:, inner]
            chosen = self.pick(sums / left[..., None], kept, margin)
            count = self.counts[:, out]
            predicted = of(self.sums[:, inner], chosen).sum(axis=1) / (self.queries - count)
            own = gains[:, out] / count
            variance = (squares[:, out] / count - own**2) / (count - 1)
            errors.append((predicted - own) ** 2 - variance)
        return float(np.mean(errors)) * (FOLDS - 1) / FOLDS

    def pick(self, means: Array, kept: NDArray[np.bool_], margin: float) -> Rows:
        """The arms [...] that means [..., arms] choose among `kept` ones [arms]."""
        seen = np.where(kept, means, -np.inf)
        near = seen >= seen.max(axis=-1, keepdims=True) - margin - 1e-12
        price = self.price[near.argmax(axis=-1)][..., None]
        return np.asarray(np.where(near & (self.price == price), seen, -np.inf).argmax(axis=-1))


def of(sums: Array, chosen: Rows) -> Array:
    """The chosen arms' [repeats, folds] values out of sums [repeats, folds, arms]."""
    return np.asarray(np.take_along_axis(sums, chosen[..., None], axis=-1)[..., 0])


def chooser(values: Array, costs: Array, baseline: Array) -> Chooser:
    """values [arms, queries], costs [arms] (NaN, unknown, counts as dearest), baseline [queries]."""
    known = np.nan_to_num(costs, nan=np.inf)
    order = np.argsort(known, kind="stable")
    members = folds(values.shape[1])[:, None, :] == np.arange(FOLDS)[:, None]
    rows = members.reshape(-1, values.shape[1]).astype(np.float64)
    gains = values[order] - baseline
    shape = (REPEATS, FOLDS, len(values))
    return Chooser(
        order=order,
        price=np.unique(known, return_inverse=True)[1][order],
        sums=(rows @ gains.T).reshape(shape),
        squares=(rows @ (gains**2).T).reshape(shape),
        counts=members.sum(axis=2).astype(np.float64),
        total=gains.sum(axis=1),
        baseline=float(baseline.mean()),
    )


def folds(queries: int) -> Rows:
    """Which fold each query is in [repeats, queries], folds of about one size, drawn anew in each repeat."""
    rng = np.random.default_rng(SEED)
    return np.stack([rng.permutation(np.arange(queries) % FOLDS) for _ in range(REPEATS)])
