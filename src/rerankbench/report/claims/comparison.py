"""How the arms compare: means, differences to the first stage and the best arm, what may be claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import bounded_mean
from rerankbench.evaluation.significance import Interval, Wins, mean_intervals, resampled_means, wins
from rerankbench.evaluation.simultaneous import Claims, SignFlips, corrected, sign_flip_p_values, sign_flips
from rerankbench.report.arms.arms import Contest

Array = NDArray[np.float64]

SEED = 0
PERMUTATIONS = 10_000
RESAMPLES = 10_000
RANGE = 1.0  # of every measure that may decide: from 0 to 1, so no query can lose more
ROWS = 64  # pairs of arms tested at a time
HARDEST = 8  # rivals whose p-values are computed: those with the smallest standardized distance


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against the first stages and against the best arm.

    All p-values but `sign_flip_p` and `to_best_p` are of claims about means, corrected over all claims of the
    report (`simultaneous.corrected`); NaN where nothing is tested. `gain_p`: the arm differs from its own
    first stage, in the direction seen. `helps_p`: it is better than every first stage that may be deployed,
    its own included. `hurts_p`: it is worse than its own. `within_p`: it is less than delta below the truly
    best arm. `sign_flip_p` (against its own first stage) and `to_best_p` ask less: are differences symmetric
    about 0? A rare large loss that no query showed yet is not their subject.
    `largest_loss` of a query against its own first stage, 0 or more.
    """

    mean: Interval
    gain: Interval
    wins: Wins
    largest_loss: float
    to_best: Interval
    gain_p: float
    helps_p: float
    hurts_p: float
    within_p: float
    sign_flip_p: float
    to_best_p: float

    @property
    def deploy_p(self) -> float:
        """Of what a verdict claims of an arm: within delta of the best and, if it reranks, it helps."""
        return self.within_p if np.isnan(self.helps_p) else max(self.within_p, self.helps_p)


@dataclass(frozen=True, kw_only=True)
class SelectedGain:
    """The gain of the arm that came out on top, with what choosing it by the same queries adds.

    `optimism`: how much the winner of a resample gains there beyond what it gains in all queries, on
    average. The bounds `low` and `high` are those of the report's claims: they hold for whichever is chosen.
    """

    arm: int
    mean: float
    optimism: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms compared; `best` is the allowed arm with the highest mean, `level` the confidence.

    `needed_p`, `needed_within_p`: the uncorrected p-values that make the first claim, of being better and of
    being as good. `selected` is None where nothing reranks. `share`: what these claims may take of the chance
    of a false one, where others are made beside them; corrected p-values are divided by it.
    """

    arms: tuple[ArmComparison, ...]
    best: int
    allowed: tuple[int, ...]
    delta: float
    level: float
    needed_p: float
    needed_within_p: float
    selected: SelectedGain | None
    share: float = 1.0

    @property
    def alpha(self) -> float:
        return 1.0 - self.level

    @property
    def own_alpha(self) -> float:
        """The part of `alpha` that these claims may take; their p-values allow for it."""
        return self.alpha * self.share

    def helps(self, arm: int) -> bool:
        return self.arms[arm].helps_p <= self.alpha

    def hurts(self, arm: int) -> bool:
        return self.arms[arm].hurts_p <= self.alpha

    def certified(self, arm: int) -> bool:
        return self.arms[arm].deploy_p <= self.alpha

    def as_the_best(self, arm: int) -> bool:
        """Whether the arm cannot be told from the best one by a test of their difference."""
        return arm == self.best or self.arms[arm].to_best_p > self.alpha


@dataclass(frozen=True, kw_only=True)
class ClaimedP:
    """Corrected p-values [arms] of what is claimed of each arm, NaN where nothing is."""

    helps: Array
    beats_own: Array
    hurts: Array
    within: Array
    needed: tuple[float, float]


def compare(
    contest: Contest, allowed: Sequence[int], delta: float, level: float, share: float = 1.0
) -> Comparison:
    """Compare all arms; only `allowed` ones may be the best or as good. `share`: as in `Comparison`."""
    values = contest.compared
    own = np.array([contest.first_stage(arm) for arm in range(len(values))])
    best = best_arm(contest, allowed or range(len(values)))
    flips = sign_flips(values, seed=SEED, patterns=PERMUTATIONS)
    claimed = claimed_p_values(contest, flips, own, allowed, delta, 1.0 - level, share)
    means = resampled_means(values, seed=SEED, resamples=RESAMPLES)
    intervals = three_intervals(values, means, own, best, level)
    return Comparison(
        arms=of_arms(values - values[own], intervals, claimed, symmetric_p_values(flips, own, best)),
        best=best,
        allowed=tuple(allowed),
        delta=delta,
        level=level,
        needed_p=claimed.needed[0],
        needed_within_p=claimed.needed[1],
        share=share,
        selected=selected_gain(contest, allowed, own, means, claimed.needed[0]),
    )


def of_arms(
    gains: Array,
    intervals: Iterator[tuple[Interval, Interval, Interval]],
    claimed: ClaimedP,
    symmetric: tuple[Array, Array],
) -> tuple[ArmComparison, ...]:
    """What is known of each arm; `gains` [arms, queries]: of its values over its own first stage's."""
    sign_flip_p, to_best_p = symmetric
    return tuple(
        ArmComparison(
            mean=mean,
            gain=gain,
            wins=wins(gains[i]),
            largest_loss=float(max(0.0, -gains[i].min())),
            to_best=to_best,
            gain_p=float(claimed.beats_own[i] if gain.mean > 0 else claimed.hurts[i]),
            helps_p=float(claimed.helps[i]),
            hurts_p=float(claimed.hurts[i]),
            within_p=float(claimed.within[i]),
            sign_flip_p=float(sign_flip_p[i]),
            to_best_p=float(to_best_p[i]),
        )
        for i, (mean, gain, to_best) in enumerate(intervals)
    )


def three_intervals(
    values: Array, means: Array, own: NDArray[np.intp], best: int, level: float
) -> Iterator[tuple[Interval, Interval, Interval]]:
    """Of each arm: of its mean, of the difference to its own first stage, and of that to the best arm.

    `values` [arms, queries], `means` [resamples, arms] of the same queries drawn again.
    """
    for at in range(0, len(values), ROWS):  # some at a time: resampled means are large
        some = slice(at, at + ROWS)
        gains, distances = values[some] - values[own[some]], values[some] - values[best]
        yield from zip(
            mean_intervals(values[some], means[:, some], level, least=0.0),
            mean_intervals(gains, means[:, some] - means[:, own[some]], level),
            mean_intervals(distances, means[:, some] - means[:, [best]], level),
            strict=True,
        )


def best_arm(contest: Contest, among: Sequence[int]) -> int:
    """The arm with the highest mean; of equal ones the shallowest."""
    means = contest.compared.mean(axis=1)
    return max(among, key=lambda arm: (round(float(means[arm]), 12), -contest.arms[arm].depth))


def gains_of(contest: Contest) -> Array:
    """Differences [arms, queries] to not reranking the same candidates."""
    firsts = [contest.first_stage(arm) for arm in range(len(contest.arms))]
    return contest.compared - contest.compared[firsts]


def reranking(contest: Contest) -> list[int]:
    return [i for i, arm in enumerate(contest.arms) if arm.reranks]


def claimed_p_values(
    contest: Contest,
    flips: SignFlips,
    own: NDArray[np.intp],
    allowed: Sequence[int],
    delta: float,
    alpha: float,
    share: float,
) -> ClaimedP:
    """All claims of the report as one family: each arm against the first stages, and against the best.

    They may take a `share` of `alpha`. A claim about every first stage, or about every arm, holds if each of
    its parts does: the largest p-value of these counts (intersection-union, Berger 1982).
    """
    tried = np.array(reranking(contest), dtype=np.intp)
    stages = [i for i in allowed if not contest.arms[i].reranks]
    first, second = against_first_stages(own.tolist(), tried.tolist(), stages)
    rivals, within = hardest_rivals(contest.compared, np.array(allowed, dtype=np.intp), delta)
    better, worse = np.concatenate([first, own[tried]]), np.concatenate([second, tried])
    sizes = [len(better), len(allowed)]
    claims = Claims(
        first=np.concatenate([better, np.array(allowed, dtype=np.intp)]),
        second=np.concatenate([worse, rivals]),
        p=np.concatenate([above_p_values(flips, better, worse), within]),
        worst=np.repeat([RANGE, RANGE - delta], sizes),
        apart=np.repeat([False, True], sizes),
        groups=len({(contest.arms[i].stage, contest.arms[i].reranker) for i in tried}),
    )
    found = corrected(claims, flips, alpha * share)
    parts = np.split(np.minimum(found.p / share, 1.0), [len(first), len(better)])
    helps, beats_own = (np.full(len(own), np.nan) for _ in range(2))
    np.fmax.at(helps, first, parts[0])
    beats_own[first[second == own[first]]] = parts[0][second == own[first]]
    return ClaimedP(
        helps=helps,
        beats_own=beats_own,
        hurts=filled(len(own), tried.tolist(), parts[1]),
        within=filled(len(own), allowed, parts[2]),
        needed=(found.needed, found.needed_apart),
    )


def against_first_stages(
    own: Sequence[int], tried: Sequence[int], stages: Sequence[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows `tried`, each paired with its `own` first stage and with all `stages` that may be deployed."""
    pairs = [(row, stage) for row in tried for stage in dict.fromkeys([own[row], *stages])]
    first, second = (np.array([pair[k] for pair in pairs], dtype=np.intp) for k in (0, 1))
    return first, second


def above_p_values(flips: SignFlips, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
    """P-values [pairs] of "the mean of `first` is not above that of `second`", some rows at a time."""
    parts = [
        bounded_mean.p_values(flips.differences(first[at : at + ROWS], second[at : at + ROWS]), RANGE)
        for at in range(0, len(first), ROWS)
    ]
    return np.concatenate([np.zeros(0), *parts])


class Rivals:
    """The `allowed` arms (rows) that each of `values` [arms, queries] has to be as good as."""

    def __init__(self, values: Array, allowed: NDArray[np.intp]) -> None:
        self.allowed, self.shifted = allowed, values - values[allowed[0]]
        self.sums = self.shifted.sum(axis=1)
        self.squares = np.einsum("ij,ij->i", self.shifted, self.shifted)
        self.products = self.shifted @ self.shifted[allowed].T

    def distances(self, margin: float) -> Array:
        """How surely each arm is within the margin of each rival, in standard errors [arms, rivals].

        The worst possible query is counted. An arm is no rival of itself: infinite.
        """
        theirs, queries, worst = self.allowed, self.shifted.shape[1], RANGE - margin
        apart = self.sums[:, None] - self.sums[theirs]
        squares = self.squares[:, None] + self.squares[theirs] - 2 * self.products
        squares = np.maximum(squares + 2 * margin * apart + queries * margin**2, 0.0)
        distance = (apart + queries * margin - worst) / np.sqrt(squares + worst**2)
        distance[theirs, np.arange(len(theirs))] = np.inf
        return np.asarray(distance)


def hardest_rivals(values: Array, allowed: NDArray[np.intp], delta: float) -> tuple[NDArray[np.intp], Array]:
    """Of each allowed arm: the rival that it is least surely within delta of, and the p-value [allowed].

    A lone arm is its own rival: it is the best. Of many rivals only those are tested that are hardest.
    """
    if len(allowed) < 2:
        return allowed, np.zeros(len(allowed))
    found = Rivals(values[allowed], np.arange(len(allowed)))
    rivals, p_values = allowed.copy(), np.ones(len(allowed))
    for row, distance in enumerate(found.distances(delta)):
        most = HARDEST if distance.min() > 0 else 1  # of what is likelier than not one rival is enough
        hardest = np.argsort(distance, kind="stable")[: min(most, len(allowed) - 1)]
        p = bounded_mean.p_values(found.shifted[row] - found.shifted[hardest] + delta, RANGE - delta)
        rivals[row], p_values[row] = allowed[hardest[p.argmax()]], p.max()
    return rivals, p_values


def symmetric_p_values(flips: SignFlips, own: NDArray[np.intp], best: int) -> tuple[Array, Array]:
    """Sign-flip p-values [arms] of the differences to the own first stage and to the best arm."""
    every = np.arange(len(own))
    tried, others = every[own != every], every[every != best]
    to_own = sign_flip_p_values(flips, tried, own[tried])
    to_best = sign_flip_p_values(flips, others, np.full(len(others), best))
    return filled(len(own), tried.tolist(), to_own), filled(len(own), others.tolist(), to_best)


def selected_gain(
    contest: Contest, allowed: Sequence[int], own: NDArray[np.intp], means: Array, needed: float
) -> SelectedGain | None:
    """The top reranking arm's gain; `means` [resamples, arms], `needed` the p-value of a claim."""
    tried = np.array([i for i in allowed if contest.arms[i].reranks], dtype=np.intp)
    if not len(tried):
        return None
    gains = contest.compared[tried] - contest.compared[own[tried]]
    parts = (slice(at, at + ROWS) for at in range(0, len(means), ROWS))
    winners = np.concatenate([means[part, tried].argmax(axis=1) for part in parts])
    rows = np.arange(len(means))
    shifts = means[rows, tried[winners]] - means[rows, own[tried[winners]]] - gains.mean(axis=1)[winners]
    top = int(np.flatnonzero(tried == best_arm(contest, tried.tolist()))[0])
    return SelectedGain(
        arm=int(tried[top]),
        mean=float(gains[top].mean()),
        optimism=float(shifts.mean()),
        low=bounded_mean.lower_bound(gains[top], RANGE, needed),
        high=-bounded_mean.lower_bound(-gains[top], RANGE, needed),
    )


def filled(count: int, where: Sequence[int], values: Sequence[float] | Array) -> Array:
    """`values` at the places `where` among `count`, NaN elsewhere."""
    out = np.full(count, np.nan)
    out[list(where)] = values
    return out
