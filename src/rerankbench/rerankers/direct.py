"""Scores of one query's documents as a service computes them: from texts to numbers, nothing stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rerankbench.rerankers.pair_window import PairWindow
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.sequences import best

if TYPE_CHECKING:
    from rerankbench.engine.loop import Loop


def score_texts(model: PairModel, query: str, documents: Sequence[str], loop: Loop) -> NDArray[np.float32]:
    """Scores [documents, layers]; documents that are one sequence to the model have one score.

    The loop's streams share the documents evenly: an operator over a few of them alone would keep its threads
    waiting for each other. Fewer documents than streams are computed by all threads together.
    """
    if not documents:
        return np.empty((0, len(model.layers)), np.float32)
    queries = model.tokenize_queries([query]) * len(documents)
    window = PairWindow.of(model, queries, model.tokenize_documents(documents))
    distinct, number = window.distinct()
    values = np.empty((len(distinct.lengths), len(model.layers)), np.float32)
    for index, some in shared(loop, distinct.lengths).run(distinct):
        values[index] = some
    return best(values[number], window.owner)


def shared(loop: Loop, lengths: NDArray[np.int64]) -> Loop:
    """The loop for these sequences alone."""
    if len(lengths) < loop.streams:
        return replace(loop, streams=1)
    return replace(loop, budget=loop.budget.shared(lengths, loop.streams))
