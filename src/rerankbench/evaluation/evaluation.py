"""Every order that one array of scores holds, measured: first stage, each layer and depth, the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.evaluation import measures, ranking
from rerankbench.evaluation.tutorial_measures import tutorial_per_query

PerQuery = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, repr=False)
class Measured:
    """One order of the candidates and its measures per query.

    `stage`: first_stage (layer None, depth 0), reranked, or oracle (layer None). `per_query` is empty where
    the collection has no judgements, otherwise each measure's values are those of `query_ids`.
    """

    stage: str
    layer: int | None
    depth: int
    per_query: PerQuery
    query_ids: Sequence[str] = ()

    def __repr__(self) -> str:
        depth = f" to depth {self.depth}" if self.stage == "reranked" else ""
        figures = ", ".join(f"{name} {value:.4f}" for name, value in self.mean().items())
        return f"<Measured {self.stage}{depth}: {figures}>"

    def mean(self) -> dict[str, float]:
        """Each measure's mean over the judged queries."""
        return measures.mean(self.per_query)


@dataclass(frozen=True)
class Evaluation:
    """All orders of one experiment, measured."""

    orders: tuple[Measured, ...]

    def one(self, stage: str, depth: int, layer: int | None = None) -> Measured:
        wanted = (stage, layer, depth)
        return next(order for order in self.orders if (order.stage, order.layer, order.depth) == wanted)

    def reranked(self, layer: int | None = None) -> list[Measured]:
        return [order for order in self.orders if order.stage == "reranked" and order.layer == layer]


class Judge:
    """Measures orders of the same candidates.

    `tutorial`: cutoffs at which the tutorial's own measures are added, for whole lists only.
    """

    def __init__(
        self,
        collection: Collection,
        candidates: Candidates,
        cutoffs: Sequence[int],
        tutorial: Sequence[int] = (),
    ) -> None:
        self.collection, self.candidates = collection, candidates
        self.cutoffs, self.tutorial = cutoffs, tutorial
        self.grades = collection.grades(candidates.rows)
        self.ideal = collection.ideal()
        self.length = candidates.lengths()

    def __call__(self, stage: str, layer: int | None, depth: int, order: ranking.Order) -> Measured:
        if not self.collection.judged:
            return Measured(stage, layer, depth, {})
        grades = measures.grades_at(self.grades, order)
        threshold = self.collection.relevance_threshold
        judged = measures.Judged(grades=grades, ideal=self.ideal, length=self.length, threshold=threshold)
        found = measures.per_query(judged, self.cutoffs)
        return Measured(stage, layer, depth, found, self.collection.query_ids)

    def as_tutorial(self, scores: NDArray[np.float32], order: ranking.Order) -> PerQuery:
        """The tutorial's measures of an order whose scores [queries, ranks] are given in that order."""
        rows = np.take_along_axis(self.candidates.rows, order, axis=1)
        texts = [self.collection.corpus.texts(row[row >= 0]) for row in rows]
        return tutorial_per_query(texts, scores, self.truths(), self.tutorial)

    def truths(self) -> list[list[str]]:
        """The texts of each query's relevant documents, as far as the corpus has them."""
        c = self.collection
        kept = (c.judged_grade >= c.relevance_threshold) & (c.judged_row >= 0)
        rows = [c.judged_row[kept & (c.judged_query == query)] for query in range(len(c.query_ids))]
        return [c.corpus.texts(some) for some in rows]


def evaluate(
    collection: Collection,
    candidates: Candidates,
    scores: NDArray[np.float32] | None,
    layers: Sequence[int],
    depths: Sequence[int],
    cutoffs: Sequence[int],
    tutorial: Sequence[int] = (),
) -> Evaluation:
    """Measure all orders. `scores` [queries, depth, layers]; None where nothing reranks."""
    tutorial = tutorial if collection.judged else ()
    judge = Judge(collection, candidates, cutoffs, tutorial)
    before = ranking.first_stage(candidates.rows.shape)
    first = judge("first_stage", None, 0, before)
    if tutorial:
        first.per_query.update(judge.as_tutorial(candidates.scores, before))
    orders = [first]
    orders += [judge("oracle", None, depth, ranking.oracle(judge.grades, depth)) for depth in depths]
    for position, layer in enumerate(layers if scores is not None else ()):
        orders += reranked(judge, whole(scores[:, :, position], candidates), layer, depths)  # type: ignore[index]
    return Evaluation(tuple(orders))


def whole(scores: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    """Scores [queries, depth] as wide as the candidates; what was not scored is NaN."""
    padded = np.full(candidates.rows.shape, np.nan, np.float32)
    padded[:, : scores.shape[1]] = scores
    return padded


def reranked(
    judge: Judge, scores: NDArray[np.float32], layer: int, depths: Sequence[int]
) -> Iterator[Measured]:
    """One layer's scores [queries, candidates] at every depth."""
    for depth in depths:
        order = ranking.rerank(scores, depth)
        measured = judge("reranked", layer, depth, order)
        if judge.tutorial and depth == depths[-1]:
            measured.per_query.update(judge.as_tutorial(below(scores, depth, order), order))
        yield measured


def below(scores: NDArray[np.float32], depth: int, order: ranking.Order) -> NDArray[np.float32]:
    """Scores in reranked order, with falling ones for what lies below the rerank depth."""
    ranked = np.take_along_axis(scores, order, axis=1)
    lowest = np.nanmin(np.where(np.isnan(scores), np.inf, scores), axis=1, keepdims=True)
    fill = np.where(np.isfinite(lowest), lowest, 0) - np.arange(1, scores.shape[1] + 1)
    return np.where(np.isnan(ranked) | (np.arange(scores.shape[1]) >= depth), fill, ranked).astype(np.float32)
