"""What arrangements cost: their steps' raced times added on each query, each with its fixed part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Contest
from rerankbench.report.arrangements.arrangement import Arrangement
from rerankbench.report.costs.book import Book, Times
from rerankbench.report.costs.cost import (
    P95_LEVEL,
    Cost,
    Ordering,
    kept_busy,
    price,
    served,
    span,
    unknown_as_nan,
)
from rerankbench.report.race.intervals import quantiles

Array = NDArray[np.float64]


def priced(
    contest: Contest, tried: Sequence[Arrangement], plain: Sequence[Cost], order: Ordering, book: Book
) -> tuple[list[Cost], Ordering]:
    """The sum of each arrangement's steps, and all arms ordered from cheap to dear.

    `plain`, `order`: those of the contest's arms.
    """
    costs = [untimed(contest, each, plain, book) for each in tried]
    stages = (*order.stages, *(contest.arms[each.steps[0]].stage for each in tried)) if order.stages else ()
    clock = Clock(contest, book) if book.race else None
    if clock:
        costs = [replace(cost, **times) for cost, times in zip(costs, clock.spans(tried), strict=True)]
    if clock is None or not order.times:  # counted, or single runs'
        values = np.array([*order.values, *(added(each, order.values) for each in tried)])
        return costs, Ordering(order.basis, values, (), stages)
    name = "query_p50_ms" if book.whole else "latency_p50_ms"
    values = np.array([*order.values, *(unknown_as_nan(getattr(cost, name)) for cost in costs)])
    times = (*order.times, *(clock.compared(each) for each in tried))
    return costs, Ordering(order.basis, values, times, stages)


@dataclass(frozen=True)
class Clock:
    """Adds up what a race timed.

    Of a step that not all queries take, a query's expected time counts: its time by the share of the queries
    that take it. Only for the 95th percentile all take it, as more than one in twenty do.
    """

    contest: Contest
    book: Book
    held: dict[int, Times] = field(default_factory=dict)

    def step(self, row: int) -> Times:
        """Milliseconds [queries] of one step, NaN where it was not timed."""
        if row not in self.held:
            found = self.book.reranking(self.contest.arms[row])[0]
            assert self.book.race
            self.held[row] = np.full(len(self.book.race.ids), np.nan) if found is None else found
        return self.held[row]

    def reranking(self, arrangement: Arrangement, *, whole: bool = False) -> Times:
        """Milliseconds [queries]: expected ones, or of queries that take every step."""
        shares = [1.0] * len(arrangement.steps) if whole else arrangement.shares()
        parts = [share * self.step(row) for row, share in zip(arrangement.steps, shares, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    def searching(self, arrangement: Arrangement) -> Times:
        found = self.book.searching(self.contest.arms[arrangement.steps[0]])
        return np.full(len(self.step(arrangement.steps[0])), np.nan) if found is None else found

    def compared(self, arrangement: Arrangement) -> Times:
        times = self.reranking(arrangement)
        return times + self.searching(arrangement) if self.book.whole else times

    def spans(self, tried: Sequence[Arrangement]) -> list[dict[str, Any]]:
        """Latencies with their intervals, as `Cost` names them; nothing that is not known."""
        if not tried:
            return []
        expected = np.array([self.reranking(each) for each in tried])
        longest = np.array([self.reranking(each, whole=True) for each in tried])
        searching = np.array([self.searching(each) for each in tried])
        found: list[dict[str, Any]] = [{"queries": int(count)} for count in np.isfinite(expected).sum(axis=1)]
        for name, more in (("latency", 0.0), ("query", searching)):
            middles = quantiles(expected + more)
            highs = quantiles(longest + more, 0.95, P95_LEVEL)
            for into, middle, high in zip(found, middles, highs, strict=True):
                into |= span(name, middle, high)
        return found


def untimed(contest: Contest, arrangement: Arrangement, plain: Sequence[Cost], book: Book) -> Cost:
    """Everything but latencies: the time of a busy machine by shares; memory, size and loading in full."""
    steps = [plain[row] for row in arrangement.steps]
    models = {contest.arms[row].reranker: plain[row] for row in arrangement.steps}.values()
    busy = total([one.ms_per_query for one in steps], arrangement.shares())
    return Cost(
        bound=any(one.bound for one in steps),
        ms_per_query=busy,
        memory_mb=total([one.memory_mb for one in models]),
        parameters_m=total([one.parameters_m for one in models]),
        load_seconds=total([one.load_seconds for one in models]),
        price_per_1k=paid(contest, arrangement, plain, book),
        search_memory_mb=steps[0].search_memory_mb,
        interpolated=any(one.interpolated for one in steps),
        pairs=min(one.pairs for one in steps),
        pair_seconds=min(one.pair_seconds for one in steps),
        why=next((one.why for one in steps if one.why), ""),
    )


def paid(contest: Contest, arrangement: Arrangement, plain: Sequence[Cost], book: Book) -> float | None:
    """Price of 1,000 queries: what services charge, and this machine's hours for all the other steps."""
    steps = list(zip(arrangement.steps, arrangement.shares(), strict=True))
    asked = [(row, share) for row, share in steps if served(contest.arms[row])]
    own = [(row, share) for row, share in steps if not served(contest.arms[row])]
    charges = total([plain[row].price_per_1k for row, _ in asked], [share for _, share in asked])
    if not own:
        return charges
    busy = total([plain[row].ms_per_query for row, _ in own], [share for _, share in own])
    first = contest.arms[arrangement.steps[0]]
    return total([charges, price(kept_busy(busy, book, first), book.price_per_hour)])


def added(arrangement: Arrangement, values: Array) -> float:
    """Counted or single runs' values of the steps, added."""
    pairs = zip(arrangement.steps, arrangement.shares(), strict=True)
    return float(sum(share * values[row] for row, share in pairs))


def total(values: Sequence[float | None], shares: Sequence[float] | None = None) -> float | None:
    """The sum of what is known; None where a part is not."""
    weights = shares or [1.0] * len(values)
    if any(value is None for value in values):
        return None
    return sum(weight * (value or 0.0) for weight, value in zip(weights, values, strict=True))
