"""Everything that competes: the plain arms, and after them the arrangements of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Arm, Contest
from rerankbench.report.arrangements import arrangement as arranging
from rerankbench.report.arrangements import grid as gridding
from rerankbench.report.arrangements.arrangement import KINDS, Arrangement
from rerankbench.report.arrangements.costing import priced
from rerankbench.report.arrangements.pool import Lacking, pools
from rerankbench.report.arrangements.values import measured
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import Cost, Ordering

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Field:
    """Plain arms, then arrangements; rows of `values` [all, queries], `costs` and `order` are theirs.

    `lacking`: rerankers without scores of some candidates; `possible`: how many arrangements the sweep's
    scores allow, of which those here were tried.
    """

    contest: Contest
    arrangements: tuple[Arrangement, ...]
    values: Array
    costs: tuple[Cost, ...]
    order: Ordering
    lacking: tuple[Lacking, ...] = ()
    possible: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def plain(self) -> int:
        """How many plain arms there are."""
        return len(self.contest.arms)

    def arrangement(self, row: int) -> Arrangement | None:
        return self.arrangements[row - self.plain] if row >= self.plain else None

    def reranks(self, row: int) -> bool:
        return row >= self.plain or self.contest.arms[row].reranks

    def steps(self, row: int) -> tuple[Arm, ...]:
        """The plain arms that an arm consists of, a plain one of itself."""
        found = self.arrangement(row)
        return tuple(self.contest.arms[i] for i in found.steps) if found else (self.contest.arms[row],)

    def name(self, row: int) -> str:
        found = self.arrangement(row)
        if found is None:
            return self.contest.arms[row].name
        return arranging.name(found, self.contest.arms, self.contest.several)

    def first_stage(self, row: int) -> int:
        """The plain arm that does not rerank the same candidates."""
        found = self.arrangement(row)
        return self.contest.first_stage(found.steps[0] if found else row)

    def count(self) -> dict[str, int]:
        """How many arrangements of each kind were tried."""
        return {kind: sum(each.kind == kind for each in self.arrangements) for kind in KINDS}


def assembled(contest: Contest, costs: Sequence[Cost], order: Ordering, book: Book) -> Field:
    """The field of a contest. Raises UserError where a file of scores is damaged."""
    found, lacking = pools(contest, gridding.wanted(contest))
    tried: list[Arrangement] = []
    values = [contest.compared]
    possible = 0
    for pool in found:
        made = gridding.grid(contest, list(pool.scored), order.values)
        kept, rows = measured(pool, contest.arms, made.arrangements, contest.measure)
        tried += kept
        values.append(rows)
        possible += made.possible
    paid, ordered = priced(contest, tried, costs, order, book)
    every = np.concatenate(values)
    return Field(contest, tuple(tried), every, (*costs, *paid), ordered, tuple(lacking), possible)
