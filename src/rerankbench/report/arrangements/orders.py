"""The orders that arrangements give: cascades, fusions and early exits out of stored scores."""

from __future__ import annotations

from collections.abc import Sequence
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from rerankbench.evaluation import ranking
from rerankbench.evaluation.ranking import Order
from rerankbench.report.arrangements.arrangement import MIN_MAX, RANKS

Scores = NDArray[np.float32]
Numbers = NDArray[np.float64]
RANK_CONSTANT = 60  # Cormack, Clarke and Büttcher, SIGIR 2009


def cascade(steps: Sequence[tuple[Scores, int]]) -> Order:
    """Scores [queries, candidates] and depth of each step, which reorders the best of the step before."""
    order: Order = ranking.first_stage(steps[0][0].shape)
    for scores, depth in steps:
        order = ranking.rerank_again(order, scores, depth)
    return order


def gaps(scores: Scores, order: Order, known: NDArray[np.int64]) -> Numbers:
    """How far the first two documents of an order are apart [queries].

    known [queries]: how many have a score. Infinite where fewer than two have: nothing is left to reorder.
    """
    if order.shape[1] < 2:
        return np.full(len(order), np.inf)
    top = np.take_along_axis(scores, order[:, :2], axis=1).astype(np.float64)
    return np.where(known > 1, top[:, 0] - np.where(known > 1, top[:, 1], 0.0), np.inf)


def leaving(before: Order, after: Order, gap: Numbers, bound: float) -> Order:
    """An order `after` a step, but `before` it where the gap [queries] is above the bound."""
    return np.where((gap > bound)[:, None], before, after)


def mixed(one: Numbers, two: Numbers, weight: float | None) -> Order:
    """The order [queries, depth] by two parts' normalised scores; `weight` is that of the second."""
    return ranking.rerank(total(one, two, weight), one.shape[1])


def total(one: Numbers, two: Numbers, weight: float | None) -> Numbers:
    """Two parts' normalised scores [queries, depth] as one; `weight` is that of the second."""
    share = 0.5 if weight is None else weight
    return (1.0 - share) * one + share * two


def normalised(scores: Scores, length: NDArray[np.int64], method: str) -> Numbers:
    """Scores [queries, depth] made comparable within each query; NaN behind the end of its list.

    MIN_MAX: from 0 to 1; Z: mean 0 and standard deviation 1; both 0 where all are equal. RANKS:
    1 / (60 + rank), ranks from 1, equal scores in the order given.
    """
    there = np.arange(scores.shape[1]) < length[:, None]
    if method == RANKS:
        order = ranking.rerank(np.where(there, scores, np.nan), scores.shape[1])
        rank = np.argsort(order, axis=1)
        return np.where(there, 1.0 / (RANK_CONSTANT + 1 + rank), np.nan)
    values = np.where(there, scores, np.nan).astype(np.float64)
    with np.errstate(invalid="ignore"), catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # queries without candidates
        low, high = (edge(values, axis=1, keepdims=True) for edge in (np.nanmin, np.nanmax))
        if method == MIN_MAX:
            centre, size = low, high - low
        else:
            centre, size = (f(values, axis=1, keepdims=True) for f in (np.nanmean, np.nanstd))
        scaled = (values - centre) / np.where(high > low, size, np.inf)
    return np.where(there, scaled, np.nan)
