"""One query on its way through an arm's steps, whoever computes the scores that it asks for."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import ranking
from rerankbench.evaluation.ranking import Order
from rerankbench.report.arrangements import orders
from rerankbench.report.arrangements.arrangement import EXIT, FUSION

Scores = NDArray[np.float32]
Step = Mapping[str, Any]  # `key` names the reranker, `layer` and `depth` are the step's


@dataclass(frozen=True)
class Asked:
    """Texts to be scored for a query by one step's reranker: the candidates at `positions`."""

    step: Step
    query: str
    documents: Sequence[str]


@dataclass(eq=False)
class Ordered:
    """The order of a query's candidates [candidates] and what it rests on.

    `order`: positions, best first. `values` [candidates]: the last number that a candidate was ordered by,
    NaN where only the first stage did; comparable among those with the same `steps` [candidates], which
    counts the steps that a candidate went through.
    """

    order: NDArray[np.int64]
    values: NDArray[np.float64]
    steps: NDArray[np.int64]

    def relevance(self) -> NDArray[np.float64]:
        """Numbers [candidates] by which the order can be made again: `descending`, in the order given."""
        found = np.empty(len(self.order))
        found[self.order] = self.descending()
        return found

    def descending(self) -> NDArray[np.float64]:
        """Values [ranks] in the final order that never rise.

        They are the scores themselves for as long as one step ordered the candidates. Those which fewer steps
        reached keep their distances, and are moved below the others where they are not.
        """
        found = self.values[self.order].copy()
        reached = self.steps[self.order]
        for start in np.flatnonzero(np.diff(reached, prepend=reached[:1])).tolist():
            stop = next((i for i in range(start, len(found)) if reached[i] != reached[start]), len(found))
            found[start:stop] = below(found[start:stop], found[start - 1])
        return found


def below(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Values, best first, moved down as far as they have to be to lie below `floor`."""
    if np.isnan(values).any():
        return floor - 1.0 - np.arange(len(values), dtype=np.float64)
    return values if values[0] < floor else values - (values[0] - floor) - 1.0


@dataclass(eq=False)
class Course:
    """A query, its candidates best first, and the steps that they take.

    `how` has `kind`, and where there is one `method`, `weight` and `gap`, as an arrangement's. `first`: the
    first stage's scores [candidates]; None where they are not known, which steps that use them do not allow.
    """

    how: Mapping[str, Any]
    steps: Sequence[Step]
    query: str
    documents: Sequence[str]
    first: Scores | None = None
    scored: list[Scores] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (1, len(self.documents))
        given = np.full(shape, np.nan, np.float32) if self.first is None else self.first[None]
        self.given, self.length = given, np.array([len(self.documents)])
        self.values = np.full(shape[1], np.nan)
        self.reached = np.zeros(shape[1], np.int64)

    def run(self) -> Generator[Asked, Scores, Ordered]:
        """Yields what is to be scored, is sent scores [documents], and returns the order."""
        order = yield from self.fused() if self.how["kind"] == FUSION else self.cascaded()
        return Ordered(np.asarray(order[0], np.int64), self.values, self.reached)

    def cascaded(self) -> Generator[Asked, Scores, Order]:
        order: Order = ranking.first_stage(self.given.shape)
        scores, known = self.given, self.length
        for number, step in enumerate(self.steps, start=1):
            last = self.how["kind"] == EXIT and number == len(self.steps)
            if last and orders.gaps(scores, order, known)[0] > self.how["gap"]:
                break
            top = order[0, : step["depth"]]
            scores = yield from self.scores(step, top)
            self.values[top], self.reached[top] = scores[0, top], number
            order = ranking.rerank_again(order, scores, step["depth"])
            known = np.minimum(self.length, step["depth"])
        return order

    def fused(self) -> Generator[Asked, Scores, Order]:
        depth = self.steps[0]["depth"]
        top = np.arange(min(depth, len(self.documents)))
        parts = [self.given] if len(self.steps) == 1 else []
        for step in self.steps:
            parts.append((yield from self.scores(step, top)))
        one, two = (orders.normalised(part[:, :depth], self.length, self.how["method"]) for part in parts)
        total = orders.total(one, two, self.how["weight"])
        self.values[top], self.reached[top] = total[0, : len(top)], 1
        head = ranking.rerank(total, total.shape[1])
        rest = np.arange(head.shape[1], len(self.documents))[None]
        return np.concatenate([head, rest], axis=1)

    def scores(self, step: Step, where: NDArray[np.integer]) -> Generator[Asked, Scores, Scores]:
        """A step's scores [1, candidates] of the candidates at some positions, NaN elsewhere."""
        found = np.full(self.given.shape, np.nan, np.float32)
        if len(where):
            found[0, where] = yield Asked(step, self.query, [self.documents[i] for i in where.tolist()])
        return found
