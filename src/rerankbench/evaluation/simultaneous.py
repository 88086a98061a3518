"""Many claims about differences between arms, made together, with one bound on the chance of a false one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Count = int | NDArray[np.integer]

_BLOCK = 1 << 21  # numbers handled at a time: 16 MB
_DENSE = 10  # changes of equal size below which random signs say little about how a mean spreads
_ROUNDING = 1e-10  # sums that are equal on paper may differ by this much, relative to their spread


@dataclass(frozen=True, kw_only=True)
class SignFlips:
    """Sums of values [arms, queries] under random signs of the queries, the same signs for all arms.

    `sums` [patterns, arms] of the values without their means, `signs` [patterns] the sums of the signs.
    All patterns are tried (`exact`) when there are no more than asked for.
    """

    values: Array
    sums: Array
    signs: Array
    exact: bool

    def share(self, extreme: NDArray[np.integer]) -> Array:
        """The p-values of so many extreme patterns; the observed one is added where patterns are drawn."""
        count = len(self.signs)
        return extreme / count if self.exact else (extreme + 1) / (count + 1)

    def differences(self, first: Rows, second: Rows) -> Array:
        """Values of the arms `first` minus those of the arms `second` [pairs, queries]."""
        return np.asarray(self.values[first] - self.values[second])


def sign_flips(values: Array, *, seed: int, patterns: int) -> SignFlips:
    """Flip the signs of values [arms, queries]; nothing but the seed and the shape decides which."""
    arms, queries = values.shape
    centred = values - values[0]  # what all arms share cancels in every difference: keep it out of the sums
    centred -= centred.mean(axis=1, keepdims=True)
    exact = queries <= math.log2(patterns)
    count = 1 << queries if exact else patterns
    sums, signs = np.empty((count, arms)), np.empty(count)
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // queries)
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        if exact:
            kept = (np.arange(start, stop)[:, None] >> np.arange(queries)) & 1
        else:
            kept = rng.integers(2, size=(stop - start, queries), dtype=np.int8)
        sign = 2.0 * kept - 1.0
        sums[start:stop] = sign @ centred.T
        signs[start:stop] = sign.sum(axis=1)
    return SignFlips(values=values, sums=sums, signs=signs, exact=exact)


def sign_flip_p_values(flips: SignFlips, first: Rows, second: Rows) -> Array:
    """Two-sided p-values [pairs] of "the differences are symmetric about 0", corrected for being several.

    Step-down maxT of Westfall and Young (Resampling-Based Multiple Testing, 1993, algorithm 4.1): the
    statistic is the sum of the differences over the root of their sum of squares.
    """
    if not len(first):
        return np.zeros(0)
    differences = flips.differences(first, second)
    scale = np.sqrt((differences**2).sum(axis=1))
    scale[scale == 0] = np.inf  # no difference: never extreme
    means = differences.mean(axis=1)
    observed = np.abs(differences.sum(axis=1)) / scale
    order = np.argsort(-observed, kind="stable")
    first, second, means, scale = first[order], second[order], means[order], scale[order]

    def statistics(some: slice) -> Array:
        sums = flips.sums[some][:, first] - flips.sums[some][:, second] + flips.signs[some, None] * means
        return np.abs(sums) / scale

    extreme, _ = _suffix_counts(flips, statistics, observed[order] * (1 - _ROUNDING) - _ROUNDING)
    return _in_order(np.maximum.accumulate(flips.share(extreme)), order)


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Claims that the mean of arm `first` is above that of arm `second`, or not far below [claims].

    `p`: what each claim's own test says of it, which counted a loss of `worst` that no query showed.
    `apart`: whether claims may be false for different reasons that no query showed. The others are so for at
    most `groups` reasons: depths of one reranker after one first stage share theirs.
    """

    first: Rows
    second: Rows
    p: Array
    worst: Array
    apart: NDArray[np.bool_]
    groups: int

    def __getitem__(self, rows: NDArray[np.generic]) -> Claims:
        arrays = ("first", "second", "p", "worst", "apart")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})


@dataclass(frozen=True, kw_only=True)
class Family:
    """Claims, and how their differences spread.

    `scale` [claims]: the root of the sum of squares of the centred differences, `largest` the largest of
    them. `dense` [claims]: whether enough queries carry it for random signs to say how the mean spreads.
    """

    claims: Claims
    flips: SignFlips
    scale: Array
    largest: Array
    dense: NDArray[np.bool_]

    def together(self, some: slice) -> Array:
        """Z-values [patterns, claims] of the claims' own tests under random signs, 0 for those below 0.

        Both parts of `bounded_mean.p_values`: what is seen (in the normal approximation, which makes more of
        chance than the test does), and what no query shows. Claims that are not dense have 0.
        """
        sums, queries = self.sums(some), self.flips.values.shape[1]
        seen = (sums - self.largest) / np.sqrt(np.maximum(self.scale**2 + self.largest**2, 1e-300))
        z = np.zeros_like(sums)
        above = self.dense & (seen > 0)
        worst = np.broadcast_to(np.maximum(self.claims.worst, 1e-300), sums.shape)[above]
        unseen = z_values(np.exp(-queries * np.log1p(sums[above] / queries / worst)))
        z[above] = np.minimum(seen[above], unseen)
        return z

    def alone(self, some: slice) -> Array:
        """The same, as if every claim could be false for a reason of its own; only of claims so marked."""
        apart = self.claims.apart
        spread = np.where(self.dense[apart], self.scale[apart], np.inf)
        return np.asarray(self.sums(some, apart) / spread)

    def sums(self, some: slice, claims: NDArray[np.bool_] | slice = slice(None)) -> Array:
        sums = self.flips.sums[some]
        return np.asarray(sums[:, self.claims.first[claims]] - sums[:, self.claims.second[claims]])

    def tested(self, alpha: float) -> tuple[Array, float, float]:
        """P(a false claim) if each claim and those after it are made at their p-values [claims].

        And the p-values at which the first claim is made at `alpha`: one that is not apart, one that is.
        """
        p, apart = self.claims.p, self.claims.apart
        bounds = np.maximum(z_values(p), 1e-12)  # of what is likelier than not nothing is asked
        together, highest = _suffix_counts(self.flips, self.together, bounds)
        alone, highest_alone = np.zeros(len(p), dtype=np.int64), np.zeros(len(self.flips.signs))
        if apart.any():
            alone[apart], highest_alone = _suffix_counts(self.flips, self.alone, bounds[apart])
        sparse = (~self.dense, ~self.dense & apart)
        lone = (self.pairs_after(sparse[0]), self.pairs_after(sparse[1]))
        joint = self.combined(p, (self.flips.share(together), self.flips.share(alone)), lone, apart)
        trials = np.geomspace(alpha, alpha / (2 * len(p) + 1), 60)
        seen = tuple(
            self.flips.share(len(each) - np.searchsorted(np.sort(each), z_values(trials)))
            for each in (highest, highest_alone)
        )
        needed, needed_apart = (
            float(trials[np.argmax(self.combined(trials, seen, (lone[0][0], lone[1][0]), kind) <= alpha)])
            for kind in (False, True)
        )
        return joint, needed, needed_apart

    def pairs_after(self, marked: NDArray[np.bool_]) -> NDArray[np.integer]:
        """How many pairs of arms the marked claims are about, from each place on [claims].

        Claims about the same two arms count once: of "better" and "worse" one is false, and "as good" is
        false for the same unseen queries.
        """
        first, second = self.claims.first[marked][::-1], self.claims.second[marked][::-1]
        pairs = np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)
        new = np.zeros(len(marked), dtype=np.int64)
        if len(pairs):
            _, earliest = np.unique(pairs, axis=0, return_index=True)
            new[np.flatnonzero(marked)[::-1][earliest]] = 1
        return np.asarray(np.cumsum(new[::-1])[::-1], dtype=np.int64)

    def combined(
        self,
        p: Array,
        seen: tuple[Array, ...],
        lone: tuple[Count, Count],
        apart: bool | NDArray[np.bool_],
    ) -> Array:
        """Signs say little where few queries differ: each such pair counts as a test of its own (Sidak)."""
        together = seen[0] if self.dense.any() else np.zeros(len(p))
        alone = seen[1] if (self.dense & self.claims.apart).any() else np.zeros(len(p))
        own = np.where(apart, union(alone, p, lone[1]), union(0.0, p, self.claims.groups))
        return np.asarray(np.maximum(np.maximum(union(together, p, lone[0]), own), p))


def family(claims: Claims, flips: SignFlips) -> Family:
    """Claims in the order given."""
    scale, largest, dense = spreads(flips, claims.first, claims.second)
    return Family(claims=claims, flips=flips, scale=scale, largest=largest, dense=dense)


def union(shared: Array | float, p: Array, more: Count) -> Array:
    """The chance of an event, or of any of `more` independent ones of chance p."""
    return np.asarray(1.0 - (1.0 - np.minimum(shared, 1.0)) * (1.0 - np.minimum(p, 1.0)) ** more)


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """P-values [claims] such that any of those at most alpha is false in at most alpha of all reports.

    `needed`, `needed_apart`: the uncorrected p-values at which the first claim is made.
    """

    p: Array
    needed: float
    needed_apart: float


def corrected(claims: Claims, flips: SignFlips, alpha: float) -> Corrected:
    """Step-down minP of Westfall and Young (Resampling-Based Multiple Testing, 1993, algorithm 2.8).

    Each claim's p-value is compared with the smallest that all claims not yet made would show by chance. How
    the claims depend on each other is taken from random signs of the centred differences.
    """
    if not len(claims.p):
        return Corrected(p=np.zeros(0), needed=alpha, needed_apart=alpha)
    order = np.argsort(claims.p, kind="stable")
    joint, needed, needed_apart = family(claims[order], flips).tested(alpha)
    p = _in_order(np.maximum.accumulate(joint), order)
    return Corrected(p=p, needed=needed, needed_apart=needed_apart)


def spreads(flips: SignFlips, first: Rows, second: Rows) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Of centred differences [pairs]: the root of the sum of squares, the largest, whether many count."""
    scale, largest = np.empty(len(first)), np.empty(len(first))
    dense = np.empty(len(first), dtype=bool)
    step = max(1, _BLOCK // flips.values.shape[1])
    for at in range(0, len(first), step):
        differences = flips.differences(first[at : at + step], second[at : at + step])
        squares = (differences - differences.mean(axis=1, keepdims=True)) ** 2
        total = squares.sum(axis=1)
        # (sum of squares)^2 / sum of fourth powers: how many queries of equal size would spread as much
        effective = total**2 / np.maximum((squares**2).sum(axis=1), np.finfo(np.float64).tiny)
        dense[at : at + step] = effective >= _DENSE
        scale[at : at + step] = np.sqrt(total)
        largest[at : at + step] = np.sqrt(squares.max(axis=1))
    return scale, largest, dense


def z_values(p: Array) -> Array:
    """The standard normal values that p-values stand for."""
    from scipy.special import ndtri

    return np.asarray(-ndtri(np.clip(p, 1e-300, 1.0 - 1e-16)), dtype=np.float64)


def _suffix_counts(
    flips: SignFlips, statistics: Callable[[slice], Array], bounds: Array
) -> tuple[NDArray[np.int64], Array]:
    """In how many patterns the largest statistic of a test and all after it reaches the test's bound.

    And the largest statistic of each pattern [patterns].
    """
    count, highest = np.zeros(len(bounds), dtype=np.int64), np.empty(len(flips.signs))
    step = max(1, _BLOCK // len(bounds))
    for at in range(0, len(highest), step):
        found = statistics(slice(at, at + step))
        largest = np.maximum.accumulate(found[:, ::-1], axis=1)[:, ::-1]
        count += (largest >= bounds).sum(axis=0)
        highest[at : at + step] = largest[:, 0]
    return count, highest


def _in_order(values: Array, order: NDArray[np.intp]) -> Array:
    out = np.empty_like(values)
    out[order] = values
    return out
