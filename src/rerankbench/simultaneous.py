"""Many claims about differences between arms, made together, with one bound on the chance of a false one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_BLOCK = 1 << 21  # numbers handled at a time: 16 MB
_DENSE = 20  # changed queries below which random signs say little about how a mean spreads
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
    centred = centred - centred.mean(axis=1, keepdims=True)
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

    extreme = _suffix_counts(flips, statistics, observed[order] * (1 - _ROUNDING) - _ROUNDING)
    return _in_order(np.maximum.accumulate(flips.share(extreme)), order)


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Claims that the mean of arm `first` is above that of arm `second`, or not far below [claims].

    `p`: what each claim's own test says of it.
    """

    first: Rows
    second: Rows
    p: Array


def corrected(claims: Claims, flips: SignFlips) -> Array:
    """P-values [claims] such that any of those at most alpha is false in at most alpha of all reports.

    Step-down minP of Westfall and Young (algorithm 2.8): each claim's p-value is compared with the smallest
    that all claims not yet made would show by chance. How the claims depend on each other is taken from
    random signs of the centred differences. Signs say little of a claim where few queries differ; each of
    these counts as a test of its own (Sidak, JASA 1967).
    """
    if not len(claims.p):
        return np.zeros(0)
    order = np.argsort(claims.p, kind="stable")
    p, first, second = claims.p[order], claims.first[order], claims.second[order]
    scale, dense = spreads(flips, first, second)
    bounds = z_values(p)

    def statistics(some: slice) -> Array:
        return np.asarray((flips.sums[some][:, first] - flips.sums[some][:, second]) / scale)

    seen = flips.share(_suffix_counts(flips, statistics, bounds)) if dense.any() else np.zeros(len(p))
    lone = np.cumsum(~dense[::-1])[::-1]
    joint = 1.0 - (1.0 - np.minimum(seen, 1.0)) * (1.0 - p) ** lone
    return _in_order(np.maximum.accumulate(np.maximum(joint, p)), order)


def needed_p_value(claims: Claims, flips: SignFlips, alpha: float) -> float:
    """The p-value at which the first of the claims is made: what a new collection's claim would need."""
    if not len(claims.p):
        return alpha
    scale, dense = spreads(flips, claims.first, claims.second)
    lone = int(np.count_nonzero(~dense))
    highest = np.sort(_highest(flips, claims, scale)) if dense.any() else np.zeros(0)
    low, high = alpha / (len(claims.p) + 1), alpha
    for _ in range(40):
        p = math.sqrt(low * high)
        above = len(highest) - np.searchsorted(highest, z_values(np.array([p]))[0])
        seen = float(flips.share(np.array([above]))[0]) if len(highest) else 0.0
        joint = 1.0 - (1.0 - min(seen, 1.0)) * (1.0 - p) ** lone
        low, high = (p, high) if joint <= alpha else (low, p)
    return low


def spreads(flips: SignFlips, first: Rows, second: Rows) -> tuple[Array, NDArray[np.bool_]]:
    """The root of the sum of squares of centred differences [pairs], inf where few queries carry it."""
    scale, dense = np.empty(len(first)), np.empty(len(first), dtype=bool)
    step = max(1, _BLOCK // flips.values.shape[1])
    for at in range(0, len(first), step):
        differences = flips.differences(first[at : at + step], second[at : at + step])
        squares = (differences - differences.mean(axis=1, keepdims=True)) ** 2
        total = squares.sum(axis=1)
        # (sum of squares)^2 / sum of fourth powers: how many queries of equal size would spread as much
        effective = total**2 / np.maximum((squares**2).sum(axis=1), np.finfo(np.float64).tiny)
        dense[at : at + step] = effective >= _DENSE
        scale[at : at + step] = np.where(effective >= _DENSE, np.sqrt(total), np.inf)
    return scale, dense


def z_values(p: Array) -> Array:
    """The standard normal values that p-values stand for."""
    from scipy.special import ndtri

    return np.asarray(-ndtri(np.clip(p, 1e-300, 1.0 - 1e-16)))


def _highest(flips: SignFlips, claims: Claims, scale: Array) -> Array:
    """The largest statistic of each pattern [patterns]."""
    out = np.empty(len(flips.signs))
    step = max(1, _BLOCK // len(scale))
    for at in range(0, len(out), step):
        some = flips.sums[at : at + step]
        out[at : at + step] = ((some[:, claims.first] - some[:, claims.second]) / scale).max(axis=1)
    return out


def _suffix_counts(
    flips: SignFlips, statistics: Callable[[slice], Array], bounds: Array
) -> NDArray[np.integer]:
    """In how many patterns the largest statistic of a test and all after it reaches the test's bound."""
    count = np.zeros(len(bounds), dtype=np.int64)
    step = max(1, _BLOCK // len(bounds))
    for at in range(0, len(flips.signs), step):
        found = statistics(slice(at, at + step))
        largest = np.maximum.accumulate(found[:, ::-1], axis=1)[:, ::-1]
        count += (largest >= bounds).sum(axis=0)
    return count


def _in_order(values: Array, order: NDArray[np.intp]) -> Array:
    out = np.empty_like(values)
    out[order] = values
    return out
