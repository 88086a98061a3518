"""Populations of known truth in which many arrangements compete with plain arms, and reports on samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Arm, Contest
from rerankbench.report.arms.runs import Run
from rerankbench.report.arrangements.arrangement import CASCADE, Arrangement
from rerankbench.report.arrangements.field import Field
from rerankbench.report.arrangements.findings import SHARE, Arranged, arrange
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims.comparison import Comparison
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE
from rerankbench.report.costs.book import Book
from rerankbench.report.costs.cost import MEASURED, Cost, Ordering
from rerankbench.report.settings import Report
from simulated_populations import graded

Array = NDArray[np.float64]
SIZE = 20_000  # queries of a population
DELTA = 0.01
DEPTHS = (10, 20, 50, 100)
RUN = Run(Path(), "", {"environment": {}, "params": {}})


@dataclass(frozen=True)
class Population:
    """Values [arms, queries]: the first stage, two rerankers at four depths each, then arrangements."""

    values: Array
    costs: Array

    @property
    def truth(self) -> Array:
        return self.values.mean(axis=1)

    def sample(self, queries: int, rng: np.random.Generator) -> Array:
        return self.values[:, rng.integers(self.values.shape[1], size=queries)]


PLAIN = 1 + 2 * len(DEPTHS)


def population(plain: list[Array], more: list[Array], first: Array, cheap: float = 0.3) -> Population:
    """Costs: the plain arms' depths, of the second reranker three times as much; `cheap` of the dearest."""
    costs = [0.0, *DEPTHS, *(3.0 * depth for depth in DEPTHS)]
    rng = np.random.default_rng(1)
    costs += list(max(costs) * rng.uniform(cheap, 1.2, len(more)))
    return Population(np.stack([first, *plain, *more]), np.array(costs))


def centred(noise: Array) -> Array:
    return noise - noise.mean()


def changes(rng: np.random.Generator, gains: list[float], common: Array, spread: float) -> list[Array]:
    """Changes of a given mean that share half of their variance."""
    return [g + centred(0.7 * common + 0.7 * rng.normal(0, spread, SIZE)) for g in gains]


def nothing_helps(rng: np.random.Generator) -> Population:
    first, common = graded(rng)[:SIZE], rng.normal(0, 0.2, SIZE)
    plain = [first + change for change in changes(rng, [0.0] * 8, common, 0.2)]
    more = [first + change for change in changes(rng, [0.0] * 200, common, 0.2)]
    return population(plain, more, first)


def plenty_of_luck(rng: np.random.Generator) -> Population:
    """Reranking helps; 200 arrangements scatter widely, all exactly delta below the best plain arm."""
    first, common = graded(rng)[:SIZE], rng.normal(0, 0.2, SIZE)
    gains = [0.03, 0.05, 0.07, 0.08, 0.05, 0.08, 0.09, 0.1]
    plain = [first + change for change in changes(rng, gains, common, 0.05)]
    more = [plain[-1] - DELTA + centred(rng.normal(0, 0.15, SIZE)) for _ in range(200)]
    return population(plain, more, first)


def rare_changes(rng: np.random.Generator) -> Population:
    """Arrangements do as the best plain arm, but other 1% of the queries lose everything in each."""
    first = np.full(SIZE, 0.3)
    plain = [first + gain for gain in (0.1, 0.2, 0.3, 0.4, 0.3, 0.5, 0.6, 0.7)]
    more = [plain[-1] - 1.0 * (rng.random(SIZE) < 0.0101) for _ in range(100)]
    return population(plain, more, first)


def a_cascade_wins(rng: np.random.Generator) -> Population:
    """Some of the arrangements are as good as the best plain arm at a fraction of its cost."""
    first, common = graded(rng)[:SIZE], rng.normal(0, 0.2, SIZE)
    gains = [0.03, 0.05, 0.06, 0.07, 0.05, 0.08, 0.11, 0.12]
    plain = [first + change for change in changes(rng, gains, common, 0.05)]
    good = [plain[-1] + centred(rng.normal(0, 0.02, SIZE)) for _ in range(20)]
    poor = [plain[-1] - 0.05 + centred(rng.normal(0, 0.1, SIZE)) for _ in range(180)]
    return population(plain, good + poor, first)


POPULATIONS: dict[str, Callable[[np.random.Generator], Population]] = {
    "nothing helps": nothing_helps,
    "luck is plentiful": plenty_of_luck,
    "changes are rare": rare_changes,
    "a cascade really wins": a_cascade_wins,
}


@dataclass(frozen=True)
class Judged:
    """One simulated report."""

    comparison: Comparison
    arranged: Arranged


def contest_of(values: Array) -> Contest:
    arms = [Arm("s", "", None, 0, RUN, stage_name="s", name="no reranking", curve="no reranking")]
    arms += [
        Arm("s", r, None, depth, RUN, stage_name="s", name=f"{r}@{depth}", curve=r)
        for r in "ab"
        for depth in DEPTHS
    ]
    ids = tuple(map(str, range(values.shape[1])))
    return Contest("ndcg_at_10", ids, tuple(arms), values[:PLAIN])


def judge(found: Population, values: Array) -> Judged:
    """The report on a sample of values [arms, queries], as `find_out` makes it of runs."""
    contest, settings = contest_of(values), Report(delta=DELTA)
    costs = (Cost(),) * len(values)
    tried = tuple(Arrangement(CASCADE, (4, 5)) for _ in values[PLAIN:])
    field = Field(contest, tried, values, costs, Ordering(MEASURED, found.costs))
    compared = comparing.compare(contest, range(PLAIN), DELTA, settings.level, 1.0 - SHARE)
    return Judged(compared, arrange(field, compared, [""] * PLAIN, settings, Book()))


def false_verdict(judged: Judged, truth: Array) -> bool:
    """Whether the headline claims what is not so."""
    return false_answer(judged, truth, judged.arranged.headline.kind, judged.arranged.headline.arm, DELTA)


def false_answer(judged: Judged, truth: Array, kind: str, arm: int | None, margin: float) -> bool:
    if arm is None:
        return False
    too_far = (
        truth[arm] <= truth[:PLAIN].max() - margin - 1e-9
        if margin == 0
        else truth[arm] <= truth[:PLAIN].max() - margin + 1e-9
    )
    no_help = truth[arm] <= truth[0] + 1e-9
    fits = judged.arranged.headline.fits
    return bool({DEPLOY: too_far or no_help, BEST: no_help, NONE: too_far and fits}.get(kind, False))


def false_report(judged: Judged, truth: Array) -> bool:
    """Whether anything that the report claims is not so: at any margin, of any arm, in any answer."""
    shown, plain = judged.arranged.shown, truth[:PLAIN].max()
    margins = np.array(shown.margins)[:, None]
    own_best = np.isclose(truth, plain) & (np.arange(len(truth)) < PLAIN)  # is no rival of itself
    too_far = (truth <= plain - margins + 1e-9) & ~(own_best & (margins == 0))
    c = judged.comparison
    certified = [i for i in range(PLAIN) if c.certified(i) and truth[i] <= plain - DELTA + 1e-9]
    helps = [i for i in range(1, PLAIN) if c.helps(i) and truth[i] <= truth[0] + 1e-9]
    hurts = [i for i in range(1, PLAIN) if c.hurts(i) and truth[i] >= truth[0] - 1e-9]
    return bool(
        (shown.within & too_far).any()
        or (shown.helps & (truth <= truth[0] + 1e-9)).any()
        or certified
        or helps
        or hurts
    )
