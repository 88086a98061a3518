"""What may be claimed of every arm at every margin, with one bound on the chance of a false claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import bounded_mean
from rerankbench.evaluation.simultaneous import Claims, corrected, sign_flips, z_values
from rerankbench.report.arrangements.field import Field
from rerankbench.report.claims.comparison import RANGE, SEED, Rivals, against_first_stages

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

PATTERNS = 5_000
RIVALS = 2  # whose p-values are computed: those with the smallest standardized distance
_BLOCK = 64  # pairs of arms tested at a time


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of each arm [arms].

    `beats` [arms, plain arms]: better than that first stage, tested of its own one and of all that may be
    deployed; `helps`: better than all of these. `within` [margins, arms]: less than that margin below the
    truly best plain arm that may be deployed. All of it holds at once.
    """

    margins: tuple[float, ...]
    beats: NDArray[np.bool_]
    helps: NDArray[np.bool_]
    within: NDArray[np.bool_]

    def at(self, margin: float) -> NDArray[np.bool_]:
        return np.asarray(self.within[self.margins.index(margin)])


def show(field: Field, allowed: Sequence[int], margins: Sequence[float], alpha: float) -> Shown:
    """Test all arms together: single-step minP over shared random signs.

    allowed: the plain arms (rows) that may be deployed. The bound holds for all margins at the same time:
    what is shown at a margin is a lower bound of a difference, of which all bounds hold at once.
    """
    flips = sign_flips(field.values, seed=SEED, patterns=PATTERNS)
    rivals = Rivals(field.values, np.array(allowed, dtype=np.intp))
    stages = [i for i in allowed if not field.contest.arms[i].reranks]
    every = np.arange(len(field))
    own, tried = map(field.first_stage, every.tolist()), filter(field.reranks, every.tolist())
    first, second = against_first_stages(list(own), list(tried), stages)
    middle = margins[len(margins) // 2]
    hardest, _ = hardest_of(rivals, middle)
    claims = Claims(
        first=np.concatenate([first, every]),
        second=np.concatenate([second, hardest[:, 0]]),
        p=np.ones(len(first) + len(every)),
        worst=np.repeat([RANGE, RANGE - middle], [len(first), len(every)]),
        apart=np.repeat([False, True], [len(first), len(every)]),
        groups=len({(arm.stage, arm.reranker) for arm in field.contest.arms if arm.reranks}),
    )
    found = corrected(claims, flips, alpha)
    better = better_p_values(field.values, first, second, alpha) <= found.needed
    beats = np.zeros((len(field), field.plain), dtype=bool)
    beats[first, second] = better
    helps = np.isin(every, first)
    helps[first[~better]] = False
    tested = Tested(field.values, rivals, found.needed_apart, alpha)
    return Shown(tuple(margins), beats, helps, tested.within(margins))


def hopeless(alpha: float) -> float:
    """The standardized distance below which no claim at this level can be made, so that none is tested."""
    return 0.8 * float(z_values(np.array([min(alpha, 0.4)]))[0])


def better_p_values(values: Array, first: Rows, second: Rows, alpha: float) -> Array:
    """P-values [pairs] of "the mean of `first` is not above that of `second`"; 1 where it is hopeless."""
    found = np.ones(len(first))
    for at in range(0, len(first), _BLOCK):
        differences = values[first[at : at + _BLOCK]] - values[second[at : at + _BLOCK]]
        some = standardized(differences, RANGE) > hopeless(alpha)
        found[at : at + _BLOCK][some] = bounded_mean.p_values(differences[some], RANGE) if some.any() else 1.0
    return found


def standardized(differences: Array, worst: float) -> Array:
    """Sums in standard errors [pairs], the worst possible query included."""
    squares = (differences**2).sum(axis=1) + worst**2
    return np.asarray((differences.sum(axis=1) - worst) / np.sqrt(squares))


def hardest_of(rivals: Rivals, margin: float) -> tuple[Rows, Array]:
    """Of each arm the rivals (rows) [arms, RIVALS] that it is least surely within the margin of.

    And the smallest distance in standard errors [arms].
    """
    distance = rivals.distances(margin)
    near = np.argsort(distance, axis=1, kind="stable")[:, :RIVALS]
    return rivals.allowed[near], distance.min(axis=1)


@dataclass(frozen=True, eq=False)
class Tested:
    """Tests of "within a margin of the best plain arm" at the p-value `needed`."""

    values: Array
    rivals: Rivals
    needed: float
    alpha: float

    def within(self, margins: Sequence[float]) -> NDArray[np.bool_]:
        """[margins, arms], margins rising; what holds at one holds at all larger ones."""
        arms = len(self.values)
        low, high = np.full(arms, -1), np.full(arms, len(margins))  # not shown at low, shown at high
        while (open_ := high - low > 1).any():
            middle = (low + high) // 2
            for at in np.unique(middle[open_]).tolist():
                rows = np.flatnonzero(open_ & (middle == at))
                holds = self.holds(rows, margins[at])
                high[rows[holds]], low[rows[~holds]] = at, at
        return np.asarray(np.arange(len(margins))[:, None] >= high)

    def holds(self, rows: Rows, margin: float) -> NDArray[np.bool_]:
        """Whether it is shown of some arms that they are within a margin."""
        hardest, distance = hardest_of(self.rivals, margin)
        alone = self.rivals.allowed[0] if len(self.rivals.allowed) == 1 else -1  # has no rival
        found = distance[rows] > hopeless(self.alpha)
        values = self.values
        for place in range(hardest.shape[1]):
            left = np.flatnonzero(found & (rows != alone))
            for at in range(0, len(left), _BLOCK):
                some = left[at : at + _BLOCK]
                differences = values[rows[some]] - values[hardest[rows[some], place]] + margin
                found[some] = bounded_mean.p_values(differences, RANGE - margin) <= self.needed
        return found
