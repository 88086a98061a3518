"""FAISS: a factory string to a searchable index of inner products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerankbench.embedding import Vectors


@dataclass(frozen=True)
class Index:
    """Settings of a FAISS index: its factory string, and how hard an approximate one searches.

    `search`: run-time parameters in FAISS's own spelling, for instance `nprobe=32` or `efSearch=128`.
    """

    factory: str = "Flat"
    search: str = ""
    train_rows: int = 200_000

    @property
    def exact(self) -> bool:
        return self.factory == "Flat"

    def problems(self) -> list[str]:
        import faiss

        try:
            faiss.index_factory(64, self.factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError:
            return [
                f"index.factory={self.factory}: FAISS does not know this factory string; examples: Flat, "
                "IVF1024,Flat, HNSW32, IVF4096,PQ48"
            ]
        return []

    def build(self, vectors: Vectors, seed: int) -> Any:
        """A trained and filled FAISS index; block by block, so that memory holds the index and one block."""
        import faiss

        index = faiss.index_factory(vectors.dimensions, self.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(sample(vectors, self.train_rows, seed))
        for block in vectors.blocks:
            index.add(np.ascontiguousarray(block))
        if self.search:
            parameters: Any = faiss.ParameterSpace()
            parameters.set_index_parameters(index, self.search)
        return index


def sample(vectors: Vectors, rows: int, seed: int) -> NDArray[np.float32]:
    """A seeded sample of vectors to train on, all of them where there are fewer."""
    chosen = np.arange(len(vectors))
    if len(vectors) > rows:
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), rows, replace=False))
    starts = np.cumsum([0, *map(len, vectors.blocks)])
    parts = [
        block[chosen[(chosen >= start) & (chosen < start + len(block))] - start]
        for start, block in zip(starts, vectors.blocks, strict=False)
    ]
    return np.ascontiguousarray(np.concatenate(parts))


def search(
    index: Any, queries: NDArray[np.float32], depth: int, batch: int = 256
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `depth` best rows of each query, best first: (rows [Q, depth], scores [Q, depth]).

    Equal scores are ordered by row number, so that the order does not depend on FAISS's heap. Asks for no
    more than the index holds; -1 and -inf where there are fewer.
    """
    rows = np.full((len(queries), depth), -1, np.int64)
    scores = np.full((len(queries), depth), -np.inf, np.float32)
    found = min(depth, index.ntotal)
    for start in range(0, len(queries), batch):
        stop = start + batch
        some_scores, some_rows = index.search(np.ascontiguousarray(queries[start:stop]), found)
        some_scores[some_rows < 0] = -np.inf  # FAISS pads with the lowest float
        order = np.lexsort((some_rows, -some_scores))
        rows[start:stop, :found] = np.take_along_axis(some_rows, order, axis=1)
        scores[start:stop, :found] = np.take_along_axis(some_scores, order, axis=1)
    return rows, scores
