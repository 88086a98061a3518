"""Latency as a service feels it: one query at a time, nothing cached, the device waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.progress import Progress
from rerankbench.collections.candidates import Candidates
from rerankbench.collections.collection import Collection
from rerankbench.engine.run_context import RunContext
from rerankbench.first_stages.first_stage import Searcher
from rerankbench.rerankers.reranker import PairModel
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scoring.direct import score_texts
from rerankbench.rerankers.scoring.text_scoring import score_directly

QUERIES = 30  # p95 of fewer is the maximum of a handful
WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Milliseconds by depth: of the reranking step, and of the whole query with the first stage."""

    reranking: dict[int, NDArray[np.float64]]
    whole: dict[int, NDArray[np.float64]]


def measure(
    model: PairModel | Scorer,
    collection: Collection,
    candidates: Candidates,
    depths: Sequence[int],
    searcher: Searcher | None,
    context: RunContext,
) -> Latency:
    """Time `QUERIES` queries, spread over the collection, at each depth.

    Texts are at hand, as in a service that stores them with its index; tokenization is timed. So are the
    vectors of documents, for a reranker that compares vectors: embedding the query is timed.
    """
    asked = np.unique(np.linspace(0, len(collection.query_ids) - 1, QUERIES).astype(int))

    def once(query: int, depth: int) -> tuple[float, float]:
        """(milliseconds of reranking, milliseconds of searching) for one query."""
        text, rows = collection.query_texts[query], candidates.rows[query, :depth]
        documents = collection.corpus.texts(rows[rows >= 0])
        if isinstance(model, Scorer):
            model.expect(documents)
        searching = timed(lambda: searcher(text), context) if searcher else 0.0
        return timed(lambda: rerank(model, text, documents, context), context), searching

    reranking: dict[int, NDArray[np.float64]] = {}
    whole: dict[int, NDArray[np.float64]] = {}
    with Progress("latency", len(depths) * (len(asked) + WARM_UP), "queries") as progress:
        for depth in depths:
            times = []
            for query in [*asked[:WARM_UP], *asked]:
                times.append(once(int(query), depth))
                progress.advance(1)
            kept = np.array(times[min(WARM_UP, len(asked)) :])
            reranking[depth], whole[depth] = kept[:, 0], kept.sum(axis=1)
    return Latency(reranking, whole if searcher else {})


def rerank(
    model: PairModel | Scorer, query: str, documents: Sequence[str], context: RunContext
) -> NDArray[np.float32]:
    """Scores [documents, layers] of one query's documents, from texts to numbers."""
    from rerankbench.engine.loop import Loop  # loads torch, which reports do without

    if isinstance(model, Scorer):
        return score_directly(model, [query] * len(documents), documents)
    machine = context.hardware
    loop = Loop(model.forward, machine, context.budget(model.enough), streams=machine.streams)
    return score_texts(model, query, documents, loop)


def timed(step: Callable[[], object], context: RunContext) -> float:
    """Milliseconds of one step, with the device idle before and after."""
    context.hardware.synchronize()
    started = time.perf_counter()
    step()
    context.hardware.synchronize()
    return (time.perf_counter() - started) * 1000


def percentiles(times: dict[int, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """p50 and p95 by depth, as result.json holds them."""
    return {
        str(depth): {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}
        for depth, values in times.items()
    }
