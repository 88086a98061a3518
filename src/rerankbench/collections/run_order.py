"""What orders the documents of a run: its scores, its ranks, or a guess that is said.

A run whose ranks contradict its scores has two orders. Which one its author meant cannot be told from the
file (scores may be distances, ranks may be those of another list), so such a run is refused until the config
says what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rerankbench.basics.finding import Finding, shown

OrderBy = Literal["score", "distance", "rank"]
ORDERS: tuple[OrderBy, ...] = ("score", "distance", "rank")
_TELLING = 3  # documents of a query from which on 1, 2, 3 are hardly scores
KEY = "first_stage.order_by"


@dataclass(frozen=True)
class Listed:
    """The entries of a run, parallel arrays [entries] in the order of the file.

    scores: NaN throughout where the run has none. ranks: None where it has none.
    unnamed: whether the scores stand in the last of three columns without a name, which may hold ranks.
    """

    queries: pa.Array
    scores: NDArray[np.float64]
    ranks: NDArray[np.int64] | None
    unnamed: bool = False

    @property
    def scored(self) -> bool:
        return not np.isnan(self.scores).all()


@dataclass(frozen=True)
class Ordered:
    """Values by which entries stand, highest first, or why that cannot be told."""

    values: NDArray[np.float64]
    findings: tuple[Finding, ...] = ()
    problem: str | None = None


def ordered(run: Listed, order_by: OrderBy | None) -> Ordered:
    """The order of a run's entries, as the config says or else as the file shows without contradiction."""
    if not len(run.scores):
        return Ordered(run.scores)
    if order_by is not None:
        return _as_asked(run, order_by)
    if not run.scored:
        assert run.ranks is not None  # reading asks for one of both
        found = Finding("info", "run entries without a score", len(run.ranks), (), "ordered by rank")
        return Ordered(-run.ranks.astype(np.float64), (found,))
    codes = run.queries.dictionary_encode().indices.to_numpy().astype(np.int64)
    if run.ranks is not None:
        return _checked(run, codes, run.ranks)
    counting, rising = count_up(codes, run.scores), _rising(codes, run.scores)
    if counting and run.unnamed:
        what = "run entries whose last column has no name"
        taken = "it counts 1, 2, 3 for each query and was taken for the rank"
        effect = f"{taken}; {KEY}=score takes it for scores"
        return Ordered(-run.scores, (Finding("info", what, len(run.scores), (), effect),))
    if counting and rising and np.bincount(codes).max() >= _TELLING:
        cure = f"set {KEY}=distance (lowest first) or {KEY}=score (highest first)"
        return Ordered(run.scores, problem=f"its scores count 1, 2, 3 for each query, as ranks do: {cure}")
    what = "run entries in lists that all begin with the lowest score, as distances do"
    effect = f"the highest was taken for the best; set {KEY}=distance if the lowest is"
    distances = Finding("warning", what, len(run.scores), (), effect)
    return Ordered(run.scores, (distances,) if rising else ())


def _as_asked(run: Listed, order_by: OrderBy) -> Ordered:
    if order_by == "rank":
        if run.ranks is not None:
            return Ordered(-run.ranks.astype(np.float64))
        if run.unnamed and (run.scores == np.round(run.scores)).all():
            return Ordered(-run.scores)
        cure = "leave it out, or name their column with first_stage.rank_column=NAME"
        return Ordered(run.scores, problem=f"{KEY}=rank: the run has no ranks; {cure}")
    if not run.scored:
        return Ordered(run.scores, problem=f"{KEY}={order_by}: the run has no scores; set {KEY}=rank")
    return Ordered(run.scores if order_by == "score" else -run.scores)


def _checked(run: Listed, codes: NDArray[np.int64], ranks: NDArray[np.int64]) -> Ordered:
    """By score, unless documents of a lower rank have a higher one, or the scores look like ranks."""
    if count_up(codes, run.scores) and not count_up(codes, ranks.astype(np.float64)):
        cure = f"are the two columns exchanged? set {KEY}=distance (lowest first) or {KEY}=score"
        return Ordered(
            run.scores, problem=f"its scores count 1, 2, 3 for each query, its ranks do not: {cure}"
        )
    order = np.lexsort((-run.scores, ranks, codes))
    query, rank = codes[order], ranks[order]
    score = run.scores[order].astype(np.float32)
    wrong = (query[1:] == query[:-1]) & (rank[1:] > rank[:-1]) & (score[1:] > score[:-1])
    if not wrong.any():
        return Ordered(run.scores)
    at = int(np.flatnonzero(wrong)[0])
    count, total = len(np.unique(query[1:][wrong])), len(np.unique(codes))
    where = f"in {count:,} of {total:,} queries: {shown(run.queries[int(order[at])].as_py(), 40)}"
    pair = f"rank {rank[at]} has {score[at]:g}, rank {rank[at + 1]} has {score[at + 1]:g}"
    cure = f"say what counts: {KEY}=rank or {KEY}=score"
    return Ordered(run.scores, problem=f"its ranks contradict its scores {where}, {pair}; {cure}")


def _rising(codes: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """Whether the lists never fall in the order of the file, and each of several documents rises."""
    order = np.argsort(codes, kind="stable")
    within = codes[order][1:] == codes[order][:-1]
    steps = np.diff(scores[order])
    if not within.any() or (steps[within] < 0).any():
        return False
    several, rising = (set(codes[order][1:][mask].tolist()) for mask in (within, within & (steps > 0)))
    return several == rising


def count_up(codes: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
    """Whether each query's values are the whole numbers from 0 or 1 on, each once, some query having several.

    Lists that all count down in the order of the file hold scores.
    """
    order = np.lexsort((values, codes))
    query, value = codes[order], values[order]
    starts = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
    if len(starts) == len(query) or not np.isin(value[starts], (0.0, 1.0)).all():
        return False
    first = np.repeat(starts, np.diff(np.r_[starts, len(query)]))
    counts = bool((value - value[first] == np.arange(len(query)) - first).all())
    return counts and not _rising(codes[::-1], values[::-1])
