"""How far a difference leans on documents that nobody judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.errors import UserError
from rerankbench.collections.unjudged import UNJUDGED
from rerankbench.evaluation import measures
from rerankbench.evaluation.measures import Judged, display_name, grades_at
from rerankbench.report.arms.arms import Contest
from rerankbench.report.evidence.lists import Grades, Lists, lists

OURS = ("ndcg", "recall", "mrr", "success")


@dataclass(frozen=True)
class Leaning:
    """The arm's mean difference to its first stage, if unjudged documents were relevant or not.

    `plain`: none of them is, as measures are defined. `low`: all are that reranking moved down, none that it
    moved up; `high`: the reverse; each with the highest grade that these candidates have. `condensed`: means
    before and after, of the lists without unjudged documents (Sakai, SIGIR 2007). `unjudged`: shares of the
    first results without a judgement, before and after.
    """

    arm: str
    measure: str
    plain: float
    low: float
    high: float
    condensed: tuple[float, float]
    unjudged: tuple[float, float]

    def line(self) -> str:
        name, cutoff = display_name(self.measure), self.measure.rpartition("_")[2]
        before, after = self.unjudged
        return (
            f"Of the first {cutoff} results of {self.arm}, {after:.1%} have no judgement ({before:.1%} "
            "without reranking). They count as not relevant, and the difference is "
            f"{self.plain:+.4f} {name}. If all that reranking moved down were relevant, it would be "
            f"{self.low:+.4f}; if all that it moved up were, {self.high:+.4f}. Without unjudged documents "
            f"(condensed lists) {name} goes from {self.condensed[0]:.4f} to {self.condensed[1]:.4f}."
        )


@dataclass(frozen=True)
class Unread:
    """Files that would say it are damaged."""

    why: str

    def line(self) -> str:
        return f"How far the difference depends on documents without a judgement is not known: {self.why}."


def leaning(contest: Contest, row: int) -> Leaning | Unread | None:
    """Of a plain arm; None where every first result is judged, or its lists are not at hand."""
    kind, _, cutoff = contest.measure.rpartition("_at_")
    try:
        found = lists(contest, row) if kind in OURS else None
    except UserError as error:
        return Unread("; ".join(error.problems))
    if found is None:
        return None
    k = int(cutoff)
    shares = tuple(unjudged_share(found, order, k) for order in (found.before, found.after))
    if not any(shares):
        return None
    up, down = moved(found, k)
    return Leaning(
        arm=contest.arms[row].name,
        measure=contest.measure,
        plain=difference(found, np.zeros_like(up), kind, k),
        low=difference(found, down, kind, k),
        high=difference(found, up, kind, k),
        condensed=(condensed(found, found.before, kind, k), condensed(found, found.after, kind, k)),
        unjudged=(shares[0], shares[1]),
    )


def unjudged_share(found: Lists, order: NDArray[np.int64], k: int) -> float:
    """Of the results that there are among the first k, the share without a judgement, over all queries."""
    top = grades_at(found.grades, order[:, :k])
    there = np.arange(top.shape[1]) < found.length[:, None]
    return float((there & (top == UNJUDGED)).sum() / max(1, there.sum()))


def moved(found: Lists, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Unjudged documents [queries, candidates] that reranking moves up, and down, among the first k."""
    before, after = ranks(found.before), ranks(found.after)
    unjudged = (found.grades == UNJUDGED) & (np.arange(found.grades.shape[1]) < found.length[:, None])
    seen = unjudged & (np.minimum(before, after) < k)
    return seen & (after < before), seen & (after > before)


def ranks(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place [queries, candidates] of each candidate in an order."""
    out = np.full(order.shape, order.shape[1], np.int64)
    rows, places = np.nonzero(order >= 0)
    out[rows, order[rows, places]] = places
    return out


def difference(found: Lists, relevant: NDArray[np.bool_], kind: str, k: int) -> float:
    """The mean difference if some unjudged documents had the highest grade."""
    highest = max(found.threshold, int(found.grades.max(initial=0)))
    grades = np.where(relevant, np.int32(highest), found.grades)
    added = np.where(relevant, np.int32(highest), np.int32(UNJUDGED))
    ideal = np.sort(np.concatenate([found.ideal, added], axis=1), axis=1)[:, ::-1]
    values = [
        measured(grades_at(grades, order), ideal, found.length, found.threshold, kind, k)
        for order in (found.before, found.after)
    ]
    return float((values[1] - values[0]).mean())


def condensed(found: Lists, order: NDArray[np.int64], kind: str, k: int) -> float:
    """The mean of an order from which unjudged documents are taken out."""
    grades = grades_at(found.grades, order)
    kept = grades != UNJUDGED
    places = np.argsort(~kept, axis=1, kind="stable")
    closed = np.take_along_axis(grades, places, axis=1)
    return float(measured(closed, found.ideal, kept.sum(axis=1), found.threshold, kind, k).mean())


def measured(
    grades: Grades, ideal: Grades, length: NDArray[np.int64], threshold: int, kind: str, k: int
) -> NDArray[np.float64]:
    """One measure [queries] of grades along lists."""
    judged = Judged(grades=grades.astype(np.int32), ideal=ideal, length=length, threshold=threshold)
    return measures.per_query(judged, [k])[measures.measure_name(kind, k)]
