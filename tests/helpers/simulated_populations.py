"""Populations of queries whose truth is known, samples of them, and what a report says falsely of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms.arms import Arm, Contest
from rerankbench.report.arms.runs import Run
from rerankbench.report.claims import comparison as comparing
from rerankbench.report.claims import decision as choosing
from rerankbench.report.claims.comparison import Comparison
from rerankbench.report.claims.decision import Decision
from rerankbench.report.claims.verdict import BEST, DEPLOY, NONE, Verdict, decide
from rerankbench.report.costs.cost import MEASURED, Ordering

Array = NDArray[np.float64]
SIZE = 100_000  # queries of a population
DELTA = 0.01
RUN = Run(Path(), "", {"environment": {}, "params": {}})


@dataclass(frozen=True)
class Population:
    """Values [arms, queries of the population]; depth 0 is the first stage alone, `stages` its name."""

    values: Array
    depths: tuple[int, ...]
    stages: tuple[str, ...]

    @property
    def truth(self) -> Array:
        return self.values.mean(axis=1)

    def sample(self, queries: int, rng: np.random.Generator) -> Array:
        return self.values[:, rng.integers(self.values.shape[1], size=queries)]


def one_stage(first: Array, reranked: Sequence[Array]) -> Population:
    """One reranker at rising depths after one first stage."""
    depths = (0, *(10 * (i + 1) for i in range(len(reranked))))
    return Population(np.stack([first, *reranked]), depths, ("s",) * len(depths))


def graded(rng: np.random.Generator) -> Array:
    """A first stage's nDCG: much at exactly 0 and 1."""
    values = rng.beta(1.2, 1.5, SIZE)
    return np.where(rng.random(SIZE) < 0.15, 0.0, np.where(rng.random(SIZE) < 0.1, 1.0, values))


def curve(rng: np.random.Generator, gains: Sequence[float], spread: float = 0.2) -> Population:
    """Depths whose changes share most of their noise; the gains are those of the population.

    Values are not cut at 0 and 1, so that the means are what was asked for.
    """
    first = graded(rng)
    common = rng.normal(0, spread, SIZE)
    own = [0.8 * common + 0.6 * rng.normal(0, spread, SIZE) for _ in gains]
    return one_stage(first, [first + g + (noise - noise.mean()) for g, noise in zip(gains, own, strict=True)])


def null_curve(rng: np.random.Generator) -> Population:
    return curve(rng, [0.0] * 5)


def rising_curve(rng: np.random.Generator) -> Population:
    return curve(rng, [0.04, 0.06, 0.08, 0.09, 0.1])


def cheap_ones_below(rng: np.random.Generator) -> Population:
    """Every depth but the last is exactly delta below the best."""
    return curve(rng, [0.04, 0.04, 0.04, 0.05], spread=0.02)


def delta_gain(rng: np.random.Generator) -> Population:
    """Not reranking is exactly delta below the best."""
    return curve(rng, [0.0, 0.0, 0.0, 0.01], spread=0.02)


def gated(rng: np.random.Generator, *, shared: bool = True) -> Population:
    """Success@1 where 6% of queries are reranked: 3.75% gain 1 and 2.25% lose it; true gain 0.015."""
    arms = []
    for _ in range(4):
        arms.append((lambda u: (u < 0.0375) * 1.0 - ((u >= 0.0375) & (u < 0.06)) * 1.0)(rng.random(SIZE)))
    first = np.full(SIZE, 0.5)
    return one_stage(first, [first + (arms[0] if shared else change) for change in arms])


def gated_apart(rng: np.random.Generator) -> Population:
    return gated(rng, shared=False)


def rare_losses(rng: np.random.Generator, *, noise: float = 0.0, gain: float = 0.0) -> Population:
    """In each arm, other 1.2% of the queries lose 1; otherwise noise around a small gain."""
    first = np.ones(SIZE)
    arms = []
    for _ in range(4):
        lost = rng.random(SIZE) < 0.012
        change = gain + rng.normal(0, noise, SIZE) if noise else np.full(SIZE, gain)
        arms.append(first + np.where(lost, -1.0, change))
    return one_stage(first, arms)


def rare_losses_in_noise(rng: np.random.Generator) -> Population:
    return rare_losses(rng, noise=0.01)


def skewed(
    rng: np.random.Generator, *, arms: int = 1, small: float = 0.02, loss: float = 0.5, rare: float = 0.03
):
    """60% of the queries gain a little, a few lose much; the mean is a little below 0."""
    first = np.full(SIZE, 0.7)
    changes = []
    for _ in range(arms):
        u = rng.random(SIZE)
        changes.append(np.where(u < 0.6, small, np.where(u > 1 - rare, -loss, 0.0)))
    return one_stage(first, [first + change for change in changes])


def skewed_arms(rng: np.random.Generator) -> Population:
    return skewed(rng, arms=5)


def total_losses(rng: np.random.Generator) -> Population:
    """The hardest case: the small gains make up for 1.2% of total losses, other ones in each arm."""
    return skewed(rng, arms=5, small=0.02, loss=1.0, rare=0.0121)


def strong(rng: np.random.Generator) -> Population:
    """Reranking more than doubles the measure."""
    first = graded(rng) * 0.42
    room = np.where(rng.random(SIZE) < 0.5, rng.random(SIZE) * 0.92, 0.0)
    return one_stage(first, [first + room * 0.6, first + room])


def many(rng: np.random.Generator, count: int, gain: float = 0.0) -> Population:
    """Many rerankers, all of the same gain (tuned arrangements: the best of them is chosen)."""
    first = graded(rng)[:20_000]
    noise = rng.normal(0, 0.2, (count, 20_000)) * 0.7 + rng.normal(0, 0.2, 20_000) * 0.7
    noise -= noise.mean(axis=1, keepdims=True)
    return one_stage(first, list(first + gain + noise))


def many_null(rng: np.random.Generator) -> Population:
    return many(rng, 56)


def best_stage_alone(rng: np.random.Generator) -> Population:
    """bm25 as it is is truly better by 0.02 than dense with its reranker, which gains 0.1 over dense."""
    dense = graded(rng)
    reranked = [dense + 0.1 + rng.normal(0, 0.15, SIZE) for _ in range(2)]
    bm25 = dense + 0.12 + rng.normal(0, 0.15, SIZE)
    worse = [bm25 - 0.05 + rng.normal(0, 0.15, SIZE) for _ in range(2)]
    values = np.stack([dense, *reranked, bm25, *worse])
    return Population(values, (0, 10, 20, 0, 10, 20), ("dense",) * 3 + ("bm25",) * 3)


POPULATIONS: dict[str, Callable[[np.random.Generator], Population]] = {
    "nothing helps, 5 depths": null_curve,
    "gains of .04 to .10, 5 depths": rising_curve,
    "cheap depths are delta below the best": cheap_ones_below,
    "not reranking is delta below the best": delta_gain,
    "Success@1, 6% of queries reranked": gated,
    "the same, other queries in each arm": gated_apart,
    "1.2% of queries lose 1": rare_losses,
    "1.2% of queries lose 1, small noise": rare_losses_in_noise,
    "60% gain .02, 3% lose .5": skewed,
    "the same, 5 arms": skewed_arms,
    "60% gain .02, 1.2% lose 1, 5 arms": total_losses,
    "reranking doubles the measure": strong,
    "56 rerankers, nothing helps": many_null,
    "a first stage alone is best": best_stage_alone,
}


@dataclass(frozen=True)
class Judged:
    """One simulated report."""

    contest: Contest
    comparison: Comparison
    order: Ordering
    verdict: Verdict
    decision: Decision


def arms_of(population: Population) -> tuple[Arm, ...]:
    several = len(set(population.stages)) > 1
    return tuple(
        Arm(
            stage,
            "r" if depth else "",
            None,
            depth,
            RUN,
            curve=f"{stage} > r" if several else "r",
            stage_name=stage,
            name=f"{stage} r@{depth}" if depth else f"{stage} no reranking",
        )
        for stage, depth in zip(population.stages, population.depths, strict=True)
    )


def judge(population: Population, values: Array, delta: float = DELTA) -> Judged:
    """The verdict and the decision on a sample of values [arms, queries]."""
    arms = arms_of(population)
    ids = tuple(map(str, range(values.shape[1])))
    contest = Contest("ndcg_at_10", ids, arms, values)
    order = Ordering(MEASURED, np.array(population.depths, dtype=float))
    compared = comparing.compare(contest, range(len(arms)), delta, 0.95)
    decided = choosing.choose(contest, compared, order)
    assert decided is not None
    return Judged(contest, compared, order, decide(contest, compared, order), decided)


def false_verdict(judged: Judged, truth: Array, delta: float = DELTA) -> bool:
    """Whether the sentence claims what is not so."""
    verdict, close = judged.verdict, 1e-9
    if verdict.arm is None:
        return False
    firsts = [i for i, arm in enumerate(judged.contest.arms) if not arm.reranks]
    too_far = truth[verdict.arm] <= truth.max() - delta + close
    no_help = truth[verdict.arm] <= truth[firsts].max() + close
    if verdict.kind == DEPLOY:
        return bool(too_far or no_help)
    if verdict.kind == BEST:
        return bool(no_help)
    assert verdict.kind == NONE
    return bool(too_far) or any(
        "every arm makes the ranking worse" in verdict.sentence and truth[i] >= truth[firsts].min()
        for i, arm in enumerate(judged.contest.arms)
        if arm.reranks
    )


def false_claim(judged: Judged, truth: Array, delta: float = DELTA) -> bool:
    """Whether the verdict, its reasons or the table of arms claim anything that is not so."""
    contest, c = judged.contest, judged.comparison
    firsts = [i for i, arm in enumerate(contest.arms) if not arm.reranks]
    for i, arm in enumerate(contest.arms):
        own = truth[contest.first_stage(i)]
        if c.certified(i) and truth[i] <= truth.max() - delta + 1e-9:
            return True
        if arm.reranks and (
            (c.helps(i) and truth[i] <= truth[firsts].max() + 1e-9)
            or (c.arms[i].gain_p <= c.alpha and (truth[i] - own) * c.arms[i].gain.mean <= 1e-12)
        ):
            return True
    return false_verdict(judged, truth, delta)
