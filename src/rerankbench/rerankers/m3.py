"""bge-m3 as a reranker: its dense, lexical and token-by-token scores, and their weighted mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rerankbench.basics.arrays import Floats, Ints
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.embedders.m3 import EXTRA, M3Embedder
from rerankbench.engine.embedders.matrices import MatrixEmbedding
from rerankbench.engine.embedders.text_vectors import Matrix
from rerankbench.rerankers.vector_reranker import VectorReranker, as_reranker, product, similarities


@dataclass(frozen=True)
class M3(VectorReranker):
    """Scores as FlagEmbedding's `BGEM3FlagModel.compute_score` does, pairs one by one.

    weights: of the dense, the lexical and the token-by-token score in their mean; [1,0,0] is the dense one
    alone. FlagEmbedding's own default is equal weights, its examples give [0.4,0.2,0.4].
    max_length: most tokens of a document. query_max_length: most tokens of a query.
    """

    weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    max_length: int = 512
    query_max_length: int = 512

    family: ClassVar[str] = "m3"
    WORK: ClassVar[type[Embedding]] = MatrixEmbedding
    EMBEDDER: ClassVar[type[Embedder]] = M3Embedder

    def own_problems(self) -> list[str]:
        found = as_reranker(self.embedder().setting_problems())
        least = min(self.weights, default=-1)
        if len(self.weights) != 3 or not (least >= 0 and 0 < sum(self.weights) < float("inf")):
            given = str(list(self.weights)).replace(" ", "")
            found.append(
                f"reranker.weights={given}: give three numbers from 0, of the dense, the lexical and the "
                "token-by-token score, such as [0.4,0.2,0.4]"
            )
        return found

    def comparison(self) -> dict[str, Any]:
        return {"weights": [weight / sum(self.weights) for weight in self.weights]}

    def compare(self, query: Matrix, document: Matrix) -> float:
        kinds = (dense, lexical, by_tokens)
        found = [
            weight * kind(query, document) for weight, kind in zip(self.weights, kinds, strict=True) if weight
        ]
        return sum(found) / sum(self.weights)


def dense(query: Matrix, document: Matrix) -> float:
    """The cosine of both texts' own vectors."""
    return product(query[0, :-EXTRA], document[0, :-EXTRA])


def lexical(query: Matrix, document: Matrix) -> float:
    """The products of the weights of each token that both have, added."""
    (ours, weights), (theirs, others) = weighed(query), weighed(document)
    _, here, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return product(weights[here], others[there])


def weighed(text: Matrix) -> tuple[Ints, Floats]:
    """The tokens of a text, each once, and the highest weight of each."""
    tokens, number = np.unique(text[:, -1].astype(np.int64), return_inverse=True)
    highest = np.zeros(len(tokens), np.float32)
    np.maximum.at(highest, number, text[:, -2])
    return tokens, highest


def by_tokens(query: Matrix, document: Matrix) -> float:
    """The mean over the query's tokens of the cosine with the document's most similar one."""
    found = similarities(query[1:, :-EXTRA], document[1:, :-EXTRA])
    return float(found.max(axis=1).sum()) / len(found)
