"""Every arrangement's measure for every query, each order made once and let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import ranking
from rerankbench.evaluation.ranking import Order
from rerankbench.report.arms.arms import Arm
from rerankbench.report.arrangements import orders
from rerankbench.report.arrangements.arrangement import EXIT, FUSION, Arrangement
from rerankbench.report.arrangements.pool import Pool

Values = NDArray[np.float64]


class Orders:
    """Makes the orders of arrangements of one pool; what the last one shares with the next is kept."""

    def __init__(self, pool: Pool, arms: Sequence[Arm]) -> None:
        self.pool, self.arms = pool, arms
        self.kept: dict[tuple[object, ...], NDArray[np.generic]] = {}

    def __call__(self, arrangement: Arrangement) -> tuple[Arrangement, Order]:
        """Positions [queries, candidates] best first, and the arrangement with its gap, if it has one."""
        if arrangement.kind == FUSION:
            return arrangement, self.fusion(arrangement)
        after = self.cascade(arrangement.steps)
        if arrangement.kind != EXIT:
            return arrangement, after
        before, gap = self.cascade(arrangement.steps[:-1]), self.gaps(arrangement.steps[:-1])
        found = arrangement if arrangement.gap is not None else with_gap(arrangement, gap)
        bound = np.inf if found.gap is None else found.gap
        return found, orders.leaving(before, after, gap, bound)

    def cascade(self, steps: tuple[int, ...]) -> Order:
        if not steps:
            return ranking.first_stage(self.pool.grades.shape)
        return self.once(
            ("cascade", *steps),
            lambda: ranking.rerank_again(
                self.cascade(steps[:-1]), self.pool.scored[steps[-1]], self.arms[steps[-1]].depth
            ),
        )

    def gaps(self, steps: tuple[int, ...]) -> Values:
        """Of the first two documents after some steps, by the last one's scores."""
        if not steps:
            return orders.gaps(self.pool.first, self.cascade(()), self.pool.length)
        known = np.minimum(self.pool.length, self.arms[steps[-1]].depth)
        return orders.gaps(self.pool.scored[steps[-1]], self.cascade(steps), known)

    def fusion(self, arrangement: Arrangement) -> Order:
        depth, method = self.arms[arrangement.steps[0]].depth, arrangement.method
        parts = arrangement.steps if len(arrangement.steps) > 1 else (None, *arrangement.steps)
        one, two = (self.part(row, depth, method) for row in parts)
        head = orders.mixed(one, two, arrangement.weight)
        return np.concatenate([head, ranking.first_stage(self.pool.grades.shape)[:, depth:]], axis=1)

    def part(self, row: int | None, depth: int, method: str) -> Values:
        """Normalised scores [queries, depth] of the first stage (None) or of a plain arm's reranker."""
        scores = self.pool.first if row is None else self.pool.scored[row]
        return self.once(
            ("part", row, depth, method),
            lambda: orders.normalised(scores[:, :depth], self.pool.length, method),
        )

    def once(self, key: tuple[object, ...], make: Callable[[], NDArray[np.generic]]) -> NDArray:  # type: ignore[type-arg]
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def forget(self) -> None:
        self.kept.clear()


def with_gap(arrangement: Arrangement, gaps: Values) -> Arrangement:
    """The gap that lets about the wanted share of the queries leave, and the share that really leaves.

    The gap lies midway between those of two queries, so that scores which differ in their last bits, as on
    another machine, change nothing. None where that would be no query or all of them.
    """
    finite = np.unique(gaps[np.isfinite(gaps)])
    at = np.searchsorted(finite, np.quantile(gaps, 1.0 - arrangement.share, method="lower"))
    if at + 1 >= len(finite):
        return replace(arrangement, gap=None)
    bound = float(finite[at] + finite[at + 1]) / 2.0
    share = float((gaps > bound).mean())
    return replace(arrangement, gap=bound if 0 < share < 1 else None, share=share)


def measured(
    pool: Pool, arms: Sequence[Arm], tried: Sequence[Arrangement], measure: str
) -> tuple[list[Arrangement], Values]:
    """The arrangements as they are (early exits with their gaps), and values [arrangements, queries].

    Early exits that nobody or everybody takes, or that are the same twice, are left out.
    """
    maker, found, rows, seen = Orders(pool, arms), [], [], set()
    for group in grouped(tried):
        maker.forget()
        for each in group:
            arrangement, order = maker(each)
            if (arrangement.kind == EXIT and arrangement.gap is None) or arrangement in seen:
                continue
            seen.add(arrangement)
            found.append(arrangement)
            rows.append(pool.ruler(order, measure))
    return found, np.array(rows).reshape(len(found), len(pool.length))


def grouped(tried: Sequence[Arrangement]) -> Iterator[list[Arrangement]]:
    """Arrangements that share orders or normalised scores: by first step, fusions by method."""
    groups: dict[object, list[Arrangement]] = {}
    for each in tried:
        groups.setdefault(each.method or each.steps[0], []).append(each)
    yield from groups.values()
