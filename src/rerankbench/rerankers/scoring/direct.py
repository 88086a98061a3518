"""Scores of queries' documents as a service computes them: from texts to numbers, nothing stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerankbench.engine.store.rows import NotFinite
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.scoring.pair_window import PairWindow
from rerankbench.rerankers.scoring.sequences import best

if TYPE_CHECKING:
    from rerankbench.engine.loop import Loop


def score_texts(model: PairModel, query: str, documents: Sequence[str], loop: Loop) -> NDArray[np.float32]:
    """Scores [documents, layers]; documents that are one sequence to the model have one score.

    The loop's streams share the documents evenly: an operator over a few of them alone would keep its threads
    waiting for each other. Fewer documents than streams are computed by all threads together.
    """
    return score_queries(model, [(query, documents)], loop)[0]


def score_queries(
    model: PairModel, asked: Sequence[tuple[str, Sequence[str]]], loop: Loop
) -> list[NDArray[np.float32]]:
    """Scores [documents, layers] of each query's documents, as `score_texts`, in batches that they share."""
    sizes = [len(documents) for _, documents in asked]
    if not sum(sizes):
        return [np.empty((0, len(model.layers)), np.float32) for _ in asked]
    tokens = model.tokenize_queries([query for query, _ in asked])
    queries = [own for own, size in zip(tokens, sizes, strict=True) for _ in range(size)]
    documents = model.tokenize_documents([text for _, texts in asked for text in texts])
    window = PairWindow.of(model, queries, documents)
    distinct, number = window.distinct()
    values = np.empty((len(distinct.lengths), len(model.layers)), np.float32)
    for index, some in shared(loop, distinct.lengths).run(distinct):
        values[index] = some
    if not np.isfinite(values).all():
        raise NotFinite(
            "the model's values are not finite (NaN or infinite); try precision=fp32, or another copy of the "
            "model"
        )
    return np.split(best(values[number], window.owner), np.cumsum(sizes)[:-1])


def shared(loop: Loop, lengths: NDArray[np.int64]) -> Loop:
    """The loop for these sequences alone."""
    if len(lengths) < loop.streams:
        return replace(loop, streams=1)
    return replace(loop, budget=loop.budget.shared(lengths, loop.streams))
