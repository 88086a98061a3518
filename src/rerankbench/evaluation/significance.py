"""Is a difference between arms real? Paired statistics over queries.

An arm is one contestant (a reranker at a depth and layer, or none). Everything here takes one value per
query, in the same order of queries for every arm, so that arms are compared query by query. `differences`
are arm minus reference: positive where the arm is better. Random draws depend on the `seed` alone, never on
the order of calls nor on which other arms are tested with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rerankbench.evaluation import bounded_mean

FEWEST = 6  # queries by which an interval may go by what is seen of their spread
_BLOCK = 1 << 21  # numbers drawn at a time: 16 MB

# Two sums of the same differences that are equal on paper may differ by rounding; relative to their size.
_ROUNDING = 1e-10


class Interval(NamedTuple):
    """A mean over queries and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


class Wins(NamedTuple):
    """How many queries an arm helped, hurt and left as they were."""

    helped: int
    hurt: int
    unchanged: int


def bootstrap_interval(
    values: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 10_000
) -> Interval:
    """The mean of values [queries] (or of differences) with its percentile bootstrap interval over queries.

    Efron, Annals of Statistics 1979; one query alone gives an interval of no width. Raises ValueError where
    there are no values or one is not finite, as every function here does.
    """
    return bootstrap_intervals(_one_arm(values), seed=seed, level=level, resamples=resamples)[0]


def bootstrap_intervals(
    values: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 10_000
) -> list[Interval]:
    """One interval per arm of values [arms, queries]; all arms share their resamples of the queries."""
    means = resampled_means(values, seed=seed, resamples=resamples)
    return percentile_intervals(_arms(values).mean(axis=1), means, level)


def resampled_means(values: ArrayLike, *, seed: int, resamples: int = 10_000) -> NDArray[np.float64]:
    """Means [resamples, arms] of values [arms, queries] over queries drawn with replacement.

    All arms share their resamples, so that a difference of two columns is the difference's resampled mean.
    """
    arms, at = _arms(values), 0
    means = np.empty((resamples, len(arms)))
    for block in _resampled_means(arms, resamples, seed):
        means[at : at + len(block)] = block
        at += len(block)
    return means


def percentile_intervals(
    observed: NDArray[np.float64], means: NDArray[np.float64], level: float = 0.95
) -> list[Interval]:
    """Observed means [arms] with the percentile intervals of resampled ones [resamples, arms]."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return [Interval(*ends) for ends in np.column_stack([observed, low, high]).tolist()]


def mean_intervals(
    values: NDArray[np.float64], means: NDArray[np.float64], level: float, least: float = -1.0
) -> list[Interval]:
    """One interval per arm of values [arms, queries] between `least` and 1, with resampled `means`.

    Percentile intervals; of fewer than `FEWEST` queries, whose spread says nothing, the bounds of
    `bounded_mean`, which count what none of them shows.
    """
    observed, tail = values.mean(axis=1), (1.0 - level) / 2.0
    if values.shape[1] >= FEWEST:
        return percentile_intervals(observed, means, level)
    low = bounded_mean.lower_bounds(values, -least, tail)
    high = -bounded_mean.lower_bounds(-values, 1.0, tail)
    return [Interval(*ends) for ends in np.column_stack([observed, low, high]).tolist()]


def difference_interval(differences: ArrayLike, *, seed: int, level: float = 0.95) -> Interval:
    """The mean of paired differences [queries] with its interval, as `mean_intervals` has it."""
    arms = _one_arm(differences)
    return mean_intervals(arms, resampled_means(arms, seed=seed), level)[0]


def randomisation_test(differences: ArrayLike, *, seed: int, permutations: int = 10_000) -> float:
    """The two-sided p-value of paired differences [queries] when their signs are flipped at random.

    Fisher 1935; recommended for retrieval by Smucker, Allan and Carterette, CIKM 2007. All sign patterns are
    tried when there are no more of them than `permutations`; otherwise the observed one is added to the
    drawn ones (Phipson and Smyth 2010), so p is never 0. Ties count as extreme.
    """
    return float(randomisation_tests(_one_arm(differences), seed=seed, permutations=permutations)[0])


def randomisation_tests(
    differences: ArrayLike, *, seed: int, permutations: int = 10_000
) -> NDArray[np.float64]:
    """One p-value per arm [arms] of differences [arms, queries]; all arms share their sign patterns."""
    arms = _arms(differences)
    # A query without a difference has no sign to flip, so only the others count towards the patterns.
    exact = np.count_nonzero(arms, axis=1) <= math.log2(permutations)
    p_values = np.empty(len(arms))
    p_values[exact] = [_exact_p_value(arm[arm != 0]) for arm in arms[exact]]
    if not exact.all():
        p_values[~exact] = _sampled_p_values(arms[~exact], permutations, seed)
    return p_values


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values [tests] corrected for being several, in the order given (Holm, Scand. J. Statistics 1979).

    Rejecting where the result is at most 0.05 makes one false claim or more in 5% of reports at most,
    however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def wins(differences: ArrayLike, tolerance: float = 1e-9) -> Wins:
    """How many of the differences [queries] are above, below and within `tolerance` of 0."""
    arm = _one_arm(differences)[0]
    helped, hurt = int((arm > tolerance).sum()), int((arm < -tolerance).sum())
    return Wins(helped, hurt, len(arm) - helped - hurt)


def _one_arm(values: ArrayLike) -> NDArray[np.float64]:
    """Values [queries] of one arm as [1, queries]."""
    one = np.asarray(values)
    if one.ndim != 1:
        raise ValueError(f"expected one value per query, got an array of shape {one.shape}")
    return _arms(one[None])


def _arms(values: ArrayLike) -> NDArray[np.float64]:
    """Values [arms, queries], checked: at least one query and only finite numbers."""
    arms = np.asarray(values, dtype=np.float64)
    if arms.ndim != 2 or arms.shape[1] == 0 or not np.isfinite(arms).all():
        raise ValueError(f"expected finite values [arms, queries] of at least one query, shape {arms.shape}")
    return arms


def _resampled_means(arms: NDArray[np.float64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks of means [some resamples, arms] over queries drawn with replacement."""
    rng = np.random.default_rng(seed)
    queries = arms.shape[1]
    for rows in _blocks(resamples, queries):
        drawn = rng.integers(queries, size=(rows, queries))
        cells = drawn + queries * np.arange(rows)[:, None]
        times = np.bincount(cells.ravel(), minlength=rows * queries).reshape(rows, queries)
        yield times @ arms.T / queries


def _exact_p_value(differences: NDArray[np.float64]) -> float:
    """The share of all sign patterns of a few differences whose sum is as far from 0 as the observed one."""
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    return float(_extreme(sums[:, None], differences[None]).mean())


def _sampled_p_values(arms: NDArray[np.float64], permutations: int, seed: int) -> NDArray[np.float64]:
    """(extreme patterns + 1) / (patterns + 1) for each arm, over randomly drawn sign patterns."""
    rng = np.random.default_rng(seed)
    queries = arms.shape[1]
    extreme = np.zeros(len(arms))
    for rows in _blocks(permutations, queries):
        kept = rng.integers(2, size=(rows, queries), dtype=np.int8)
        extreme += _extreme((2.0 * kept - 1.0) @ arms.T, arms).sum(axis=0)
    return (extreme + 1) / (permutations + 1)


def _extreme(sums: NDArray[np.float64], arms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which sums [patterns, arms] are at least as far from 0 as the observed ones, rounding aside."""
    observed = np.abs(arms.sum(axis=1)) - _ROUNDING * np.abs(arms).sum(axis=1)
    return np.abs(sums) >= observed


def _blocks(total: int, width: int) -> Iterator[int]:
    """How many of `total` rows of `width` numbers to draw at a time."""
    rows = max(1, _BLOCK // width)
    for start in range(0, total, rows):
        yield min(rows, total - start)
