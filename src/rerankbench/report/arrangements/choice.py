"""How an arm is chosen from many, and what such a choice is worth on queries that did not choose it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.comparison import RANGE

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

    Rows of `values` [arms, queries] are ordered from cheap to dear, `order` says which arms they are, `price`
    [arms] numbers their costs, equal ones alike; `folds` [repeats, queries]; `sums` [repeats, folds, arms]
    the values' sums in each fold, `counts` [repeats, folds] of queries.
    """

    values: Array
    order: Rows
    price: Rows
    folds: NDArray[np.intp]
    sums: Array
    counts: Array

    def all_queries(self, usable: NDArray[np.bool_], margin: float) -> int:
        """The arm (row of the field) that all queries choose among the usable ones [arms of the field]."""
        means = self.values.mean(axis=1)
        return int(self.order[self.pick(means[None], usable[self.order], margin)[0]])

    def cross_fitted(self, usable: NDArray[np.bool_], margin: float, baseline: Array) -> Estimate | None:
        """What the rule reaches on held-out queries; `baseline`: values [queries] to gain against.

        The standard error is that of nested cross-validation (Bates, Hastie and Tibshirani, JASA 2024), at
        least the plain one, with two imagined queries for what none has shown. None for too few queries.
        """
        queries = self.values.shape[1]
        if queries < LEAST:
            return None
        kept = usable[self.order]
        outer, errors, reached, spreads = [], [], [], []
        for folds, sums, counts in zip(self.folds, self.sums, self.counts, strict=True):
            held = self.held_out(folds, sums, counts, kept, margin)
            gains = held - baseline
            reached.append(held.mean())
            outer.append(gains.mean())
            spreads.append(gains.std(ddof=1) / math.sqrt(queries))
            errors += list(self.disagreements(folds, sums, counts, kept, margin, gains, baseline))
        naive_se = float(np.mean(spreads))
        mse = float(np.mean([a - b for a, b in errors])) * (FOLDS - 1) / FOLDS
        se = min(max(math.sqrt(max(mse, 0.0)), naive_se), math.sqrt(FOLDS) * naive_se)
        se = math.hypot(se, math.sqrt(UNSEEN) * RANGE / queries)
        chosen = self.pick(self.values.mean(axis=1)[None], kept, margin)[0]
        gain = float(np.mean(outer))
        return Estimate(
            naive=float(self.values[chosen].mean()),
            mean=float(np.mean(reached)),
            gain=gain,
            se=se,
            low=gain - Z * se,
            high=gain + Z * se,
        )

    def held_out(
        self, folds: Rows, sums: Array, counts: Array, kept: NDArray[np.bool_], margin: float
    ) -> Array:
        """Values [queries], each of the arm that the other folds choose."""
        means = (sums.sum(axis=0) - sums) / (counts.sum() - counts)[:, None]
        chosen = self.pick(means, kept, margin)
        return np.asarray(self.values[chosen[folds], np.arange(len(folds))])

    def disagreements(
        self,
        folds: Rows,
        sums: Array,
        counts: Array,
        kept: NDArray[np.bool_],
        margin: float,
        gains: Array,
        baseline: Array,
    ) -> Iterator[tuple[float, float]]:
        """Of each fold: how far its own mean is from what the others predict of it, squared; its variance."""
        places = np.arange(FOLDS)
        for out in places:
            inner = places[places != out]
            left = sums.sum(axis=0) - sums[out] - sums[inner]
            chosen = np.zeros(FOLDS, dtype=np.intp)
            chosen[inner] = self.pick(
                left / (counts.sum() - counts[out] - counts[inner])[:, None], kept, margin
            )
            inside = np.flatnonzero(folds != out)
            predicted = (self.values[chosen[folds[inside]], inside] - baseline[inside]).mean()
            own = gains[folds == out]
            yield float((predicted - own.mean()) ** 2), float(own.var(ddof=1) / len(own))

    def pick(self, means: Array, kept: NDArray[np.bool_], margin: float) -> Rows:
        """The arms [choices] that rows of means [choices, arms] choose among `kept` ones [arms]."""
        seen = np.where(kept, means, -np.inf)
        near = seen >= seen.max(axis=1, keepdims=True) - margin - 1e-12
        price = self.price[near.argmax(axis=1)]
        return np.asarray(np.where(near & (self.price == price[:, None]), seen, -np.inf).argmax(axis=1))


def chooser(values: Array, costs: Array) -> Chooser:
    """values [arms, queries], costs [arms], NaN where unknown, which counts as dearest."""
    known = np.nan_to_num(costs, nan=np.inf)
    order = np.argsort(known, kind="stable")
    price = np.unique(known, return_inverse=True)[1][order]
    queries = values.shape[1]
    rng = np.random.default_rng(SEED)
    folds = np.stack([rng.permutation(np.arange(queries) % FOLDS) for _ in range(REPEATS)])
    members = folds[:, None, :] == np.arange(FOLDS)[:, None]
    ordered = values[order]
    sums = members.reshape(-1, queries).astype(np.float64) @ ordered.T
    counts = members.sum(axis=2).astype(np.float64)
    return Chooser(ordered, order, price, folds, sums.reshape(REPEATS, FOLDS, -1), counts)
