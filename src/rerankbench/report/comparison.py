"""How the arms compare: means, differences to the first stage and the best arm, what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.report.arms import Contest
from rerankbench.significance import (
    Interval,
    Wins,
    bootstrap_intervals,
    holm,
    inferiority_p_values,
    randomisation_tests,
    wins,
)

SEED = 0
PERMUTATIONS = 20_000  # with 100 arms, the smallest corrected p-value is still 0.005


@dataclass(frozen=True)
class Compared:
    """One arm against its first stage and against the best arm; p-values are corrected over all arms.

    `gain_p` and `to_best_p`: is the difference real? `deploy_p`: does the claim hold that the arm is within
    delta of the best and, if it reranks, better than not reranking? NaN where nothing is tested.
    """

    mean: Interval
    gain: Interval
    gain_p: float
    wins: Wins
    to_best: Interval
    to_best_p: float
    deploy_p: float


@dataclass(frozen=True)
class Comparison:
    """All arms compared; `best` is the allowed arm with the highest mean, `level` the confidence."""

    arms: tuple[Compared, ...]
    best: int
    allowed: tuple[int, ...]
    delta: float
    level: float

    @property
    def alpha(self) -> float:
        return 1.0 - self.level

    def helps(self, arm: int) -> bool:
        return self.arms[arm].gain_p <= self.alpha and self.arms[arm].gain.mean > 0

    def hurts(self, arm: int) -> bool:
        return self.arms[arm].gain_p <= self.alpha and self.arms[arm].gain.mean < 0

    def certified(self, arm: int) -> bool:
        return self.arms[arm].deploy_p <= self.alpha

    def as_the_best(self, arm: int) -> bool:
        """Whether the arm cannot be told from the best one by a test of their difference."""
        return arm == self.best or self.arms[arm].to_best_p > self.alpha


def compare(contest: Contest, allowed: Sequence[int], delta: float, level: float) -> Comparison:
    """Compare all arms; only those of `allowed` may be the best, or be claimed to be as good."""
    values = contest.compared
    means = values.mean(axis=1)
    best = max(allowed, key=lambda arm: (round(float(means[arm]), 12), -contest.arms[arm].depth))
    gains = gains_of(contest)
    reranking = [i for i, arm in enumerate(contest.arms) if arm.reranks]
    raw = filled(
        len(means),
        reranking,
        randomisation_tests(gains[reranking], seed=SEED, permutations=PERMUTATIONS) if reranking else [],
    )
    others = [i for i in range(len(means)) if i != best]
    distance = values - values[best]
    to_best_p = filled(len(means), others, corrected(distance[others]))
    gain_p = filled(len(means), reranking, holm(raw[reranking]))
    deploy_p = filled(
        len(means),
        allowed,
        deployment_p_values(values[list(allowed)], gains[list(allowed)], raw[list(allowed)], delta),
    )
    intervals = [bootstrap_intervals(each, seed=SEED, level=level) for each in (values, gains, distance)]
    arms = tuple(
        Compared(
            mean, gain, float(gain_p[i]), wins(gains[i]), to_best, float(to_best_p[i]), float(deploy_p[i])
        )
        for i, (mean, gain, to_best) in enumerate(zip(*intervals, strict=True))
    )
    return Comparison(arms, best, tuple(allowed), delta, level)


def gains_of(contest: Contest) -> NDArray[np.float64]:
    """Differences [arms, queries] to not reranking the same candidates."""
    firsts = [contest.first_stage(arm) for arm in range(len(contest.arms))]
    return contest.compared - contest.compared[firsts]


def corrected(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm-corrected p-values of differences [arms, queries]."""
    if not len(differences):
        return np.zeros(0)
    return holm(randomisation_tests(differences, seed=SEED, permutations=PERMUTATIONS))


def deployment_p_values(
    values: NDArray[np.float64], gains: NDArray[np.float64], helps_p: NDArray[np.float64], delta: float
) -> NDArray[np.float64]:
    """Corrected p-values [arms] of the claim that a verdict makes of an arm.

    The claim is two things at once: the arm is less than `delta` below the truly best arm, and, unless it is
    "no reranking" (`helps_p` NaN), it is better than its first stage. Of two claims made together the larger
    p-value counts (intersection-union, Berger 1982); Holm's correction over the arms then bounds the chance
    of any false claim in a report, whichever of the arms that pass is chosen afterwards.
    """
    worse = inferiority_p_values(values, delta)
    helps = np.where(gains.mean(axis=1) > 0, helps_p, 1.0)
    return holm(np.where(np.isnan(helps_p), worse, np.maximum(worse, helps)))


def filled(
    count: int, where: Sequence[int], values: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """`values` at the places `where` among `count`, NaN elsewhere."""
    out = np.full(count, np.nan)
    out[list(where)] = values
    return out
