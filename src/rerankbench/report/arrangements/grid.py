"""Which arrangements are tried: chosen by what was scored and what it costs, never by how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Contest
from rerankbench.report.arrangements.arrangement import CASCADE, EXIT, FUSION, METHODS, RANKS, Arrangement
from rerankbench.report.race.entrants import spread

MOST_LAYERS = 3  # of one reranker: the lowest, the last and the one between
MOST = 200  # arrangements of one sort after one first stage
WEIGHTS = (0.25, 0.5, 0.75)
SHARES = (0.25, 0.5, 0.75)  # of the queries that leave early
Model = tuple[str, int | None]


@dataclass(frozen=True)
class Grid:
    """What is tried, and how many more the sweep's scores would allow."""

    arrangements: tuple[Arrangement, ...]
    possible: int


def wanted(contest: Contest) -> list[int]:
    """The plain arms (rows) that arrangements are made of: some depths and layers, evenly spread."""
    found = []
    for stage in contest.stages():
        for reranker in rerankers(contest, stage):
            own = [i for i, arm in enumerate(contest.arms) if (arm.stage, arm.reranker) == (stage, reranker)]
            depths = spread([contest.arms[i].depth for i in own])
            layers = some_layers([contest.arms[i].layer for i in own])
            found += [i for i in own if contest.arms[i].depth in depths and contest.arms[i].layer in layers]
    return found


def rerankers(contest: Contest, stage: str) -> list[str]:
    return list(dict.fromkeys(a.reranker for a in contest.arms if a.stage == stage and a.reranks))


def some_layers(layers: Iterable[int | None]) -> list[int | None]:
    known = sorted({layer for layer in layers if layer is not None})
    return [None] if not known else list(spread(known, MOST_LAYERS))


def grid(contest: Contest, scored: Sequence[int], costs: NDArray[np.float64]) -> Grid:
    """Arrangements of the plain arms (rows) that have scores of one first stage's candidates.

    `costs` [arms] of the plain arms, NaN where unknown: where there are too many of a sort, first those go
    whose later step is not dearer than an earlier one at the same depth, then every second and so on.
    """
    maker = Maker(contest, scored, costs)
    sorts = [maker.cascades(2), maker.cascades(3), maker.fusions(1), maker.fusions(2)]
    early = [list(maker.exits(maker.singles())), list(maker.exits(maker.cascades(2)))]
    every = [list(each) for each in sorts] + early
    kept = [maker.thinned(each) for each in every]
    return Grid(tuple(one for each in kept for one in each), sum(map(len, every)))


@dataclass(frozen=True)
class Maker:
    """Makes arrangements of one first stage's scored arms."""

    contest: Contest
    scored: Sequence[int]
    costs: NDArray[np.float64]

    def models(self) -> dict[Model, dict[int, int]]:
        """Each reranker at each layer: its depths to rows, shallow first."""
        found: dict[Model, dict[int, int]] = {}
        for row in sorted(self.scored, key=lambda i: self.contest.arms[i].depth):
            arm = self.contest.arms[row]
            found.setdefault((arm.reranker, arm.layer), {})[arm.depth] = row
        return found

    def singles(self) -> Iterator[Arrangement]:
        for depths in self.models().values():
            yield from (Arrangement(CASCADE, (row,)) for row in depths.values())

    def cascades(self, steps: int) -> Iterator[Arrangement]:
        """All orders of rerankers, depths falling; a later step has scored all that the first one reranks.

        Of one reranker only a higher layer may follow.
        """
        models = self.models()
        for chosen in permutations(models, steps):
            if not all(may_follow(one, two) for one, two in combinations(chosen, 2)):
                continue
            for rows in self.falling([models[model] for model in chosen]):
                first = self.contest.arms[rows[0]].depth
                if all(first <= max(models[model]) for model in chosen[1:]):
                    yield Arrangement(CASCADE, rows)

    def falling(self, depths: Sequence[dict[int, int]], below: float = np.inf) -> Iterator[tuple[int, ...]]:
        """Rows of one depth for each step, each smaller than the one before."""
        if not depths:
            yield ()
            return
        for depth, row in depths[0].items():
            if depth < below:
                yield from ((row, *rest) for rest in self.falling(depths[1:], depth))

    def fusions(self, parts: int) -> Iterator[Arrangement]:
        """Of the first stage with a reranker, or of two rerankers at one depth, by each method and weight."""
        for chosen in combinations(self.models().values(), parts):
            for depth in chosen[0]:
                if all(depth in each for each in chosen):
                    yield from ways(tuple(each[depth] for each in chosen))

    def exits(self, cascades: Iterable[Arrangement]) -> Iterator[Arrangement]:
        """Each cascade with several shares of the queries that do without its last step."""
        for each in cascades:
            yield from (Arrangement(EXIT, each.steps, share=share) for share in SHARES)

    def thinned(self, some: Sequence[Arrangement]) -> list[Arrangement]:
        if len(some) <= MOST:
            return list(some)
        sensible = [each for each in some if self.dearer_later(each)] or list(some)
        return sensible if len(sensible) <= MOST else [sensible[at] for at in places(len(sensible), MOST)]

    def dearer_later(self, arrangement: Arrangement) -> bool:
        """Whether no later step is known to be cheaper for a document than one before it."""
        if arrangement.kind == FUSION:
            return True
        per_document = [self.costs[row] / self.contest.arms[row].depth for row in arrangement.steps]
        return not any(later <= before for before, later in pairwise(per_document))


def may_follow(one: Model, two: Model) -> bool:
    return one[0] != two[0] or (one[1] or 0) < (two[1] or 0)


def ways(steps: tuple[int, ...]) -> Iterator[Arrangement]:
    for method in METHODS:
        weights: Sequence[float | None] = (None,) if method == RANKS else WEIGHTS
        yield from (Arrangement(FUSION, steps, method, weight) for weight in weights)


def places(count: int, most: int) -> list[int]:
    """`most` of `count` places, evenly spread."""
    return np.linspace(0, count - 1, most).round().astype(int).tolist()
