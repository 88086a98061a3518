"""Scores of queries' documents as a service computes them: from texts to numbers, nothing stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerankbench.rerankers.pair_window import PairWindow
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.sequences import best

if TYPE_CHECKING:
    from rerankbench.engine.loop import Batch, Loop, Window

ROWS = 64  # what products come in multiples of, as `operators.layout` makes them
PAIRS = 1000  # pairs of tokens that attention looks at while products do one token more


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
    for index, some in computed(distinct, loop):
        values[index] = some
    return np.split(best(values[number], window.owner), np.cumsum(sizes)[:-1])


def computed(window: Window, loop: Loop) -> Iterator[Batch]:
    """The values of these sequences alone, shared among the loop's streams.

    Batches of neighbouring lengths have little padding, but one of two may be much the larger. Where each
    stream has one, the sequences are dealt out instead if that makes the largest batch smaller.
    """
    lengths, streams = window.lengths, loop.streams
    if len(lengths) < streams:
        return replace(loop, streams=1).run(window)
    order = np.argsort(-lengths, kind="stable")
    budget = loop.budget.shared(lengths, streams)
    near, dealt = [order[batch] for batch in budget.batches(lengths[order])], deal(lengths, order, streams)
    if len(near) == streams and largest(lengths, dealt) < largest(lengths, near):
        return loop.run(window, stretches=dealt)
    return replace(loop, budget=budget).run(window)


def deal(lengths: NDArray[np.int64], order: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Deal sequences out in this order, each to the part that has the fewest tokens so far."""
    tokens, part_of = np.zeros(parts, np.int64), np.empty(len(order), np.int64)
    for place, position in enumerate(order):
        part_of[place] = tokens.argmin()
        tokens[part_of[place]] += lengths[position]
    return [order[part_of == part] for part in range(parts)]


def largest(lengths: NDArray[np.int64], batches: Sequence[NDArray[np.int64]]) -> float:
    """The work of the largest of these batches, in tokens: of products, and of attention over padded rows."""
    return max(
        -(-int(lengths[batch].sum()) // ROWS) * ROWS + len(batch) * int(lengths[batch].max()) ** 2 / PAIRS
        for batch in batches
    )
