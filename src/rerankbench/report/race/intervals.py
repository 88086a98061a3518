"""Medians and other quantiles of timings with intervals that assume no distribution."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # of every interval of a cost
WIDEST = 0.25  # half an interval by its median: beyond that a figure is not measured well enough


class Estimate(NamedTuple):
    """A quantile over queries, its interval (infinite where there are too few), and how many queries."""

    value: float
    low: float
    high: float
    queries: int

    @property
    def width(self) -> float:
        """Half the interval as a share of the value; infinite where that says nothing."""
        if not self.value > 0 or not math.isfinite(self.high - self.low):
            return math.inf
        return (self.high - self.low) / 2 / self.value

    @property
    def known(self) -> bool:
        """Whether it is measured well enough to be said."""
        return self.width <= WIDEST


UNKNOWN = Estimate(math.nan, -math.inf, math.inf, 0)


def quantile(values: NDArray[np.float64], share: float = 0.5, level: float = LEVEL) -> Estimate:
    """The `share` quantile of what values [n] are drawn from; NaN are left out.

    The interval lies between two order statistics (David and Nagaraja 2003, 7.1): how many of n values lie
    below a quantile is binomial, whatever the distribution. -inf and inf where n is too small for that side.
    """
    return quantiles(values[None], share, level)[0]


def quantiles(values: NDArray[np.float64], share: float = 0.5, level: float = LEVEL) -> list[Estimate]:
    """The same of each row of values [rows, n]."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=1)  # NaN last
    counts = np.isfinite(values).sum(axis=1)
    ends = {count: ranks(count, share, level) for count in np.unique(counts).tolist()}
    found = []
    for row, count in zip(ordered, counts.tolist(), strict=True):
        low, high = ends[count]
        bounds = [-math.inf, *row[:count].tolist(), math.inf]
        middle = float(np.quantile(row[:count], share)) if count else math.nan
        found.append(Estimate(middle, bounds[low], bounds[high], count))
    return found


def ranks(count: int, share: float, level: float) -> tuple[int, int]:
    """Between which two of `count` ordered values (from 1) a quantile lies.

    0 or count + 1 where there are too few for that side.
    """
    from scipy.stats import binom

    tail, places = (1 - level) / 2, np.arange(1, count + 1)
    below = binom.cdf(places - 1, count, share) <= tail  # the quantile is under this rank's value
    above = binom.sf(places - 1, count, share) <= tail
    return int(below.sum()), count + 1 - int(above.sum())


def ratio(values: NDArray[np.float64], others: NDArray[np.float64], level: float = LEVEL) -> Estimate:
    """The median over queries of values [queries] by others [queries], each pair of the same query."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return quantile(np.where(others > 0, values / others, np.nan), 0.5, level)


def noise(timings: NDArray[np.float64]) -> float:
    """How far the machine's own unrest moves the median of timings [queries, repeats], as a share of it.

    Half a 95% interval, from how repeats of one query differ; infinite without repeats. What differs between
    queries is no unrest.
    """
    repeats = np.isfinite(timings).sum(axis=1)
    several = timings[repeats > 1]
    if not len(several):
        return math.inf
    logs = np.log(several)
    spread = np.nanvar(logs, axis=1, ddof=1).mean()
    # the standard error of a median of normal values is 1.2533 times that of their mean
    return float(1.96 * 1.2533 * math.sqrt(spread / repeats[repeats > 0].sum()))


def typical(timings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each query's median [queries] over its repeats [queries, repeats]; NaN where there is none."""
    out = np.full(len(timings), np.nan)
    some = np.isfinite(timings).any(axis=1)
    out[some] = np.nanmedian(timings[some], axis=1)
    return out
