"""For every budget and every margin, what to deploy: worked out here, so that a page only looks it up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arrangements.choice import Chooser, Estimate
from rerankbench.report.arrangements.claims import Shown
from rerankbench.report.arrangements.costing import total
from rerankbench.report.arrangements.field import Field
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, UNKNOWN
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import Cost, Ratio

Array = NDArray[np.float64]

MARGINS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
P50, P95, MEMORY, PRICE = "latency_p50_ms", "latency_p95_ms", "memory_mb", "price_per_1k"
STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # of each power of ten
USUAL = {P50: (50.0, 100.0, 200.0, 500.0), P95: (50.0, 100.0, 200.0, 500.0)}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to do within one budget at one margin.

    `budget`: its name (empty: none) and bound; `kind`: as verdicts have it; `arm`: the recommended row, None
    where nothing is shown or nothing fits; `choice`: the row to take if one must choose now, which all
    queries choose, None where nothing fits; `estimate` of that choice against the first stage `baseline` (a
    row), the best one within the budget, on queries that did not choose. `ratio` of the named arm's cost to
    the reference's. `fits`: how many arms that rerank are within the budget.
    """

    budget: str
    bound: float | None
    margin: float
    kind: str
    arm: int | None
    choice: int | None
    estimate: Estimate | None
    ratio: Ratio | None
    fits: int
    baseline: int

    @property
    def named(self) -> int | None:
        """The arm that the answer is about."""
        return self.choice if self.arm is None else self.arm


@dataclass(frozen=True, eq=False)
class Desk:
    """Where questions are answered: what is shown of the field, and how its arms are chosen.

    `chooser` by the first stage (a row) that gains are over. `certified` [arms]: what the plain arms' own
    verdict shows at the report's margin; `helping` [arms]: all that is shown to beat every first stage that
    may be deployed; `usable` [arms]: what the report's own budget allows; `reference`: the plain arm that
    answers are compared with.
    """

    field: Field
    shown: Shown
    chooser: Callable[[int], Chooser]
    certified: NDArray[np.bool_]
    helping: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    margin: float
    reference: int

    @cached_property
    def reranking(self) -> NDArray[np.bool_]:
        return np.array([self.field.reranks(row) for row in range(len(self.field))])

    @cached_property
    def own(self) -> NDArray[np.intp]:
        """Each arm's first stage (a row)."""
        return np.array([self.field.first_stage(row) for row in range(len(self.field))])

    def stages(self, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The first stages (rows) among some arms, all of them where none is."""
        plain = ~self.reranking
        return np.flatnonzero(plain & kept if (plain & kept).any() else plain)

    def helpful(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is shown to beat its own first stage and all others that are within the budget [arms]."""
        beats, stages = self.shown.beats, self.stages(kept)
        own = beats[np.arange(len(beats)), self.own]
        return kept & (self.helping | (own & (beats[:, stages] | (self.own[:, None] == stages)).all(axis=1)))

    def answer(self, fits: NDArray[np.bool_], margin: float, budget: str, bound: float | None) -> Answer:
        """`fits` [arms]: what is known to be within the budget."""
        kept = fits & self.usable
        kind, arm = self.recommended(kept, margin)
        stages = self.stages(kept)
        baseline = int(stages[self.field.values[stages].mean(axis=1).argmax()])
        chooser = self.chooser(baseline)
        choice = chooser.all_queries(kept, margin) if kept.any() else None
        estimate = None if choice is None else chooser.cross_fitted(kept, margin)
        named = choice if arm is None else arm
        known = named is not None and named != self.reference
        return Answer(
            budget=budget,
            bound=bound,
            margin=margin,
            kind=kind,
            arm=arm,
            choice=choice,
            estimate=estimate,
            ratio=self.field.order.ratio(named, self.reference) if known and named is not None else None,
            fits=int((kept & self.reranking).sum()),
            baseline=baseline,
        )

    def recommended(self, kept: NDArray[np.bool_], margin: float) -> tuple[str, int | None]:
        """The cheapest arm that is shown to be as good; else one that is shown to help; else none."""
        if not (kept & self.reranking).any():
            return NONE, int(kept.argmax()) if kept.sum() == 1 else None
        helping = self.helpful(kept)
        good = self.shown.at(margin) & (helping | ~self.reranking)
        if margin == self.margin:
            good = good | self.certified
        if (good & kept).any():
            row = self.cheapest(good & kept)
            return (DEPLOY if self.field.reranks(row) else NONE), row
        if helping.any():
            return BEST, self.chooser(int(self.own[0])).all_queries(helping, 0.0)
        return UNKNOWN, None

    def cheapest(self, among: NDArray[np.bool_]) -> int:
        """Of some arms the one that costs least, unknown costs last; of equal ones the better."""
        means = self.field.values.mean(axis=1)
        costs = np.nan_to_num(self.field.order.values, nan=np.inf)
        return min(np.flatnonzero(among).tolist(), key=lambda i: (costs[i], -round(float(means[i]), 12)))


def answers(desk: Desk, needs: dict[str, Array], margins: Sequence[float]) -> list[Answer]:
    """One for every budget, bound and margin, and without a budget."""
    everything = np.ones(len(desk.field), dtype=bool)
    found = [desk.answer(everything, margin, "", None) for margin in margins]
    held: dict[tuple[bytes, float], Answer] = {}
    for budget, need in needs.items():
        for bound in bounds(budget, need):
            for margin in margins:
                fits = need <= bound
                key = ((fits & desk.usable).tobytes(), margin)
                if key not in held:
                    held[key] = desk.answer(fits, margin, budget, bound)
                found.append(replace(held[key], budget=budget, bound=bound))
    return found


def bounds(budget: str, need: Array) -> list[float]:
    """Round numbers from below the cheapest reranking to above the dearest, and those that people name."""
    known = need[np.isfinite(need) & (need > 0)]
    if not len(known):
        return []
    low, high = math.floor(math.log10(known.min())), math.ceil(math.log10(known.max()))
    round_ones = [step * 10.0**power for power in range(low, high + 1) for step in STEPS]
    top = next((bound for bound in round_ones if bound >= known.max()), round_ones[-1])
    least = max((bound for bound in round_ones if bound < known.min()), default=round_ones[0])
    return sorted({b for b in round_ones if least <= b <= top} | set(USUAL.get(budget, ())))


def needs(field: Field, book: Book) -> dict[str, Array]:
    """What a budget has to allow for each arm [arms]: infinite where it is not known well enough."""
    reranking = [field.reranks(i) for i in range(len(field))]
    found = {}
    for name in (P50, P95, MEMORY, PRICE):
        each = (need(name, *arm, book) for arm in zip(field.costs, reranking, strict=True))
        found[name] = np.array([math.inf if value is None else value for value in each])
    return {name: need for name, need in found.items() if np.isfinite(need[reranking]).any()}


def need(name: str, cost: Cost, reranks: bool, book: Book) -> float | None:
    """What one bound has to allow: of a latency the upper end of its interval; None where it is not known.

    Of the whole query where first stages compete.
    """
    if name == MEMORY:
        return total([cost.search_memory_mb] * book.whole + [cost.memory_mb] * reranks)
    if not book.whole and not reranks:
        return 0.0
    if name == PRICE:
        return cost.price_per_1k
    kind = name.replace("latency", "query") if book.whole else name
    span: tuple[float, float] | None = getattr(cost, kind.replace("_ms", "_interval"))
    return None if span is None else span[1]
